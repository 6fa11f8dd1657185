// A row of a picture of twice the resolution, see `screen.adaptive_sampling`: the mean of each new
// pixel's neighbours, and whether these differ by more than the tolerance.

int columns = given.columns, row = block, width = given.width, n = given.n_channels;
int height = given.values.shape[0] / (width * n);
int y = row / 2, below = y + row % 2;
below = below < height ? below : height - 1;
for (int column = 0; column < columns; column++) {
  int pixel = row * columns + column;
  if (!given.inside.data[pixel]) continue;
  int x = column / 2, right = x + column % 2;
  right = right < width ? right : width - 1;
  const float* a = given.values.data + (y * width + x) * n;
  const float* b = given.values.data + (y * width + right) * n;
  const float* c = given.values.data + (below * width + x) * n;
  const float* d = given.values.data + (below * width + right) * n;
  float *out = given.doubled.data + pixel * n, widest = 0.0f;
  for (int k = 0; k < n; k++) {
    out[k] = 0.25f * ((a[k] + b[k]) + (c[k] + d[k]));
    if (k >= given.n_watched) continue;
    float high = a[k] > b[k] ? a[k] : b[k], low = a[k] > b[k] ? b[k] : a[k];
    float high_2 = c[k] > d[k] ? c[k] : d[k], low_2 = c[k] > d[k] ? d[k] : c[k];
    float spread = (high > high_2 ? high : high_2) - (low < low_2 ? low : low_2);
    widest = spread > widest ? spread : widest;
  }
  if (widest > given.tolerance) given.wanted.data[pixel] = 1;
}
