// Features of points, see `grid.grid_encode`: DIMS of a point, POINTS of a block.

int n = given.points.shape[0] / DIMS, start = block * POINTS;
int end = start + POINTS < n ? start + POINTS : n;
for (; start < end; start += LANES) {
  floats x, y, z = 0.5f, features[2 * LEVELS];
  int count = end - start < LANES ? end - start : LANES;
  for (int j = 0; j < LANES; j++) {
    const float* point = given.points.data + DIMS * (start + (j < count ? j : 0));
    x[j] = point[0], y[j] = point[1];
    if (DIMS == 3) {
      bool within = point[2] >= 0.0f && point[2] <= 1.0f;
      z[j] = within ? point[2] : 0.0f, x[j] = within ? x[j] : -1.0f;  // -1 is outside
    }
  }
  Networks::encode(
      (const unsigned*)given.table.data, given.levels.data, DIMS == 3, x, y, z, features);
  for (int j = 0; j < count; j++)
    for (int i = 0; i < 2 * LEVELS; i++)
      given.features.data[2 * LEVELS * (start + j) + i] = features[i][j];
}
