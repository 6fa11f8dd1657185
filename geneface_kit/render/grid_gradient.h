// The gradient of one level's rows, sample after sample, see `fused_training.py`: DIMS of a point,
// which begins at number START of five. All corners of a cell are handled as one vector of
// pairs; samples that follow each other in one cell, as on a ray, are written down once.

struct Level : Networks {
  float* rows;
  const int* row;
  unsigned cell[3];
  floats sum;

  inline void write() {
    unsigned step_y = row[5] ? 2654435761u : row[2], step_z = row[5] ? 805459861u : row[3];
    for (int k = 0; k < 1 << DIMS; k++) {
      unsigned column = cell[0] + (k & 1), line = (cell[1] + (k >> 1 & 1)) * step_y;
      unsigned layer = DIMS == 3 ? (cell[2] + (k >> 2)) * step_z : 0;
      unsigned at = row[5] ? column ^ line ^ layer : column + line + layer;
      float* to = rows + 2 * (at & (unsigned)row[4]);
      to[0] += sum[2 * k], to[1] += sum[2 * k + 1];
    }
    sum = 0.0f;
  }
};

Level level = {};
level.row = given.levels.data + 6 * block;
level.rows = given.table_gradient.data + 2 * level.row[1];
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
  bool moved = !started;
  for (int c = 0; c < DIMS; c++) {
    float at = point[c] * scale + 0.5f;
    unsigned cell = (unsigned)at;
    moved |= cell != level.cell[c];
  }
  if (moved) {
    if (started) level.write();
    for (int c = 0; c < DIMS; c++) level.cell[c] = (unsigned)(point[c] * scale + 0.5f);
    started = true;
  }
  for (int c = 0; c < DIMS; c++) {
    float w = point[c] * scale + 0.5f - (float)level.cell[c];
    share *= (1.0f - w) + bit[c] * (2.0f * w - 1.0f);  // w at the far end, 1 - w at the near one
  }
  float a = from[2 * i], b = from[2 * i + 1];
  level.sum += share * (floats){a, b, a, b, a, b, a, b, a, b, a, b, a, b, a, b};
}
if (started) level.write();
