// Pixels of a canonical image on a 2D grid, bent by networks, see `fused_image.py`.

struct Image : Networks {
  enum { GRID = ROWS(2 * LEVELS), CODE = ROWS(ENCODED), SEEN = ROWS(SEEN_3) };
  row input[GRID + CODE + SEEN], hidden[ROWS(HIDDEN)], other[ROWS(HIDDEN)];

  inline void pixel(
      const weight* w, const float* biases, const unsigned* table, const int* levels,
      const float* strengths, floats x, floats y, floats* rgba) {  // what is seen is in `hidden`, the encoded place in `input`
    w = relu_layer(w, hidden, ROWS(4), SEEN_1, 0, other);
    w = layer(relu_layer(w, other, ROWS(SEEN_1), SEEN_2, 0, hidden), hidden, ROWS(SEEN_2), SEEN_3, 0);
    put(input + GRID + CODE, SEEN_3, -3e38f);
    w = relu_layer(w, input + GRID, CODE + SEEN, BEND, biases, hidden);
    w = layer(relu_layer(w, hidden, ROWS(BEND), BEND, 0, other), other, ROWS(BEND), 2 * PATTERNS, 0);
    for (int p = 0; p < PATTERNS; p++)
      x += sums[p] * strengths[p], y += sums[PATTERNS + p] * strengths[p];
    x = 0.5f * clamped(x, -1.0f, 1.0f) + 0.5f, y = 0.5f * clamped(y, -1.0f, 1.0f) + 0.5f;
    encode(table, levels, false, x, y, y, input);
    w = relu_layer(w, input, GRID + CODE + SEEN, COLOUR, biases + HIDDEN, hidden);
    layer(relu_layer(w, hidden, ROWS(COLOUR), COLOUR, 0, other), other, ROWS(COLOUR), 4, 0);
    rgba[3] = 1.0f / (1.0f + exp(-sums[0]));
    for (int c = 0; c < 3; c++) rgba[c] = rgba[3] / (1.0f + exp(-sums[c + 1]));
  }
};

Networks::begin();
Image image = {};
int n = given.pixels.shape[0] / 2, start = block * PIXELS, end = start + PIXELS < n ? start + PIXELS : n;
for (; start < end; start += LANES) {
  int column[LANES], row[LANES];
  for (int j = 0; j < LANES; j++) {
    const int* at = given.pixels.data + 2 * (start + j < n ? start + j : n - 1);
    column[j] = at[0], row[j] = at[1];
  }
  floats x, y, seen[4], rgba[4];
  for (int i = ENCODED / 2 - 1; i >= 0; i--) {  // the place itself comes last
    for (int j = 0; j < LANES; j++) {
      x[j] = given.columns.data[ENCODED / 2 * column[j] + i];
      y[j] = given.rows.data[ENCODED / 2 * row[j] + i];
    }
    Image::put(image.input + Image::GRID + Image::PAIR * i, x, y);
  }
  for (int j = 0; j < LANES; j++) {
    int pixel = row[j] * given.width + column[j];
    for (int c = 0; c < 3; c++) seen[c][j] = given.seen_colour.data[3 * pixel + c];
    seen[3][j] = given.seen_alpha.data[pixel];
  }
  for (int c = 0; c < 4; c += 2)
    Image::put(image.hidden + Image::PAIR * (c / 2), seen[c], seen[c + 1]);
  image.pixel(
      (const Image::weight*)given.weights.data, given.biases.data, (const unsigned*)given.table.data, given.levels.data,
      given.strengths.data, x, y, rgba);
  for (int j = 0; j < LANES && start + j < n; j++)
    for (int c = 0; c < 4; c++) given.values.data[4 * (start + j) + c] = rgba[c][j];
}
Networks::end();
