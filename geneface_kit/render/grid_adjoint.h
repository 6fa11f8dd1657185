// The gradients of one level's rows, point after point, and of the points as far as that level
// says, see `grid.grid_encode`: DIMS of a point; WANTS_POINTS, 1 or 0.

typedef float pair __attribute__((ext_vector_type(2)));
struct Pairs {
  static inline float dot(pair a, pair b) { return a.x * b.x + a.y * b.y; }
};

{
#pragma clang fp contract(off)
  const int* row = given.levels.data + 6 * block;
  const pair* table = (const pair*)given.table.data + row[1];
  pair* table_gradient = (pair*)given.table_gradient.data + row[1];
  unsigned step_y = row[5] ? 2654435761u : row[2], step_z = row[5] ? 805459861u : row[3];
  float scale;
  __builtin_memcpy(&scale, row, sizeof scale);
  int n = given.points.shape[0] / DIMS;
  for (int i = 0; i < n; i++) {
    const float* point = given.points.data + DIMS * i;
    bool inside = true;
    unsigned cell[3] = {};
    float w[3] = {};
    for (int c = 0; c < DIMS; c++) {
      inside = inside && point[c] >= 0.0f && point[c] <= 1.0f;
      float at = point[c] * scale + 0.5f;
      cell[c] = (unsigned)(int)at;
      w[c] = at - (float)cell[c];
    }
    if (!inside) continue;
    pair g = ((const pair*)given.gradient.data)[(long)i * LEVELS + block];
    float at_corner[8] = {};  // what the corners' features give the point, times its gradient
    for (int k = 0; k < 1 << DIMS; k++) {  // the bits of k: far along x, y, z
      unsigned x = cell[0] + (k & 1), y = (cell[1] + (k >> 1 & 1)) * step_y;
      unsigned z = (cell[2] + (k >> 2)) * step_z;
      unsigned place = (row[5] ? x ^ y ^ z : x + y + z) & (unsigned)row[4];
      pair layer = (k >> 2 ? w[2] : 1.0f - w[2]) * g;
      pair edge = (k >> 1 & 1 ? w[1] : 1.0f - w[1]) * layer;
      table_gradient[place] += (k & 1 ? w[0] : 1.0f - w[0]) * edge;
      if (WANTS_POINTS) at_corner[k] = Pairs::dot(g, table[place]);
    }
    if (!WANTS_POINTS) continue;
    float along_x[2], along_y[2], middle[2];  // of the near and of the far layer
    for (int far = 0; far < DIMS - 1; far++) {
      const float* v = at_corner + 4 * far;
      along_x[far] = (1.0f - w[1]) * (v[1] - v[0]) + w[1] * (v[3] - v[2]);
      along_y[far] = (1.0f - w[0]) * (v[2] - v[0]) + w[0] * (v[3] - v[1]);
      float low = (1.0f - w[0]) * v[0] + w[0] * v[1], high = (1.0f - w[0]) * v[2] + w[0] * v[3];
      middle[far] = (1.0f - w[1]) * low + w[1] * high;
    }
    float* out = given.points_gradient.data + ((long)block * n + i) * DIMS;
    out[0] = along_x[0], out[1] = along_y[0];
    if (DIMS == 3) {
      out[0] += w[2] * (along_x[1] - along_x[0]), out[1] += w[2] * (along_y[1] - along_y[0]);
      out[2] = middle[1] - middle[0];
    }
    for (int c = 0; c < DIMS; c++) out[c] *= scale;
  }
}
