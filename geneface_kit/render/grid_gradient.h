// The gradient of one level's rows, sample after sample, see `fused_training.py`: DIMS of a point,
// which begins at number START of five. All corners of a cell are handled as one vector of
// pairs; samples that follow each other in one cell, as on a ray, are written down once.

struct Level : Networks {
  typedef float pair __attribute__((ext_vector_type(2)));
  pair* rows;
  const int* row;
  unsigned cell[3];
  floats sum;

  inline void write() {
    pair shares[LANES / 2];
    __builtin_memcpy(shares, &sum, sizeof shares);
    unsigned step_y = row[5] ? 2654435761u : row[2], step_z = row[5] ? 805459861u : row[3];
    for (int k = 0; k < 1 << DIMS; k++) {
      unsigned column = cell[0] + (k & 1), line = (cell[1] + (k >> 1 & 1)) * step_y;
      unsigned layer = DIMS == 3 ? (cell[2] + (k >> 2)) * step_z : 0;
      unsigned at = row[5] ? column ^ line ^ layer : column + line + layer;
      rows[at & (unsigned)row[4]] += shares[k];
    }
    sum = 0.0f;
  }
};

Level level = {};
level.row = given.levels.data + 6 * block;
level.rows = (Level::pair*)given.table_gradient.data + level.row[1];
float scale;
__builtin_memcpy(&scale, level.row, sizeof scale);
const floats bit[3] = {
    {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1},
    {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1},
    {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}};
int n = given.points.shape[0] / 5;
bool started = false;
const float* from = given.gradient.data + 2 * (long)n * block;
for (int i = 0; i < n; i++) {
  const float* point = given.points.data + 5 * i + START;
  if (point[0] < 0.0f || point[0] > 1.0f || point[1] < 0.0f || point[1] > 1.0f) continue;
  floats share = 1.0f;
  unsigned cell[3];
  bool moved = !started;
  for (int c = 0; c < DIMS; c++) {
    float at = point[c] * scale + 0.5f;
    cell[c] = (unsigned)at, moved |= cell[c] != level.cell[c];
    float w = at - (float)cell[c];
    share *= (1.0f - w) + bit[c] * (2.0f * w - 1.0f);  // w at the far end, 1 - w at the near one
  }
  if (moved) {
    if (started) level.write();
    for (int c = 0; c < DIMS; c++) level.cell[c] = cell[c];
    started = true;
  }
  float a = from[2 * i], b = from[2 * i + 1];
  level.sum += share * (floats){a, b, a, b, a, b, a, b, a, b, a, b, a, b, a, b};
}
if (started) level.write();
