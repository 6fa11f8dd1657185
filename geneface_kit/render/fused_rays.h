// Rays through a field of two grids and three networks, see `fused.py`. A lane whose ray has ended
// takes the next one.

struct Field : Networks {
  enum { PLACE = ROWS(2 * LEVELS), WIDTH = ROWS(HIDDEN) };
  row input[2 * PLACE], hidden[WIDTH], features[WIDTH];
  const weight* weights;
  const float *biases, *ray_biases;  // ray_biases: 0 where colours do not depend on the view
  const unsigned *position_table, *ambient_table;
  const int* levels;
  Lines lines;

  // exp of the density, per box length; leaves the features for `colour`, and where its weights are.
  inline floats density(floats x, floats y, floats z, const weight*& rest) {
    if (lines.n) lines.warp(0, x, y, z);
    encode(position_table, levels, true, x, y, z, input);
    const weight* w = relu_layer(weights, input, PLACE, HIDDEN, biases, hidden);
    w = layer(relu_layer(w, hidden, WIDTH, HIDDEN, 0, features), features, WIDTH, 2, 0);
    floats at_x = 1.0f - 1.0f / (exp(2.0f * sums[0]) + 1.0f);  // (tanh + 1) / 2
    floats at_y = 1.0f - 1.0f / (exp(2.0f * sums[1]) + 1.0f);
    encode(ambient_table, levels + 6 * LEVELS, false, at_x, at_y, at_y, input + PLACE);
    w = relu_layer(w, input, 2 * PLACE, HIDDEN, biases + HIDDEN, hidden);
    rest = layer(relu_layer(w, hidden, WIDTH, HIDDEN, 0, features), features, WIDTH, 1, 0);
    return exp(min(sums[0], (floats)20.0f));
  }

  inline void colour(const weight* w, const int* ray, floats* rgb) {
    w = layer(w, features, WIDTH, HIDDEN, biases + 2 * HIDDEN);
    for (int j = 0; ray_biases && j < LANES; j++)
      for (int o = 0; ray[j] >= 0 && o < HIDDEN; o++) sums[o][j] += ray_biases[ray[j] * HIDDEN + o];
    put(hidden, HIDDEN, 0.0f);
    layer(w, hidden, WIDTH, 3, 0);
    for (int c = 0; c < 3; c++) rgb[c] = 1.0f / (1.0f + exp(-sums[c]));
  }
};

Networks::begin();
Field field = {};
field.weights = (const Field::weight*)given.weights.data, field.biases = given.biases.data;
field.ray_biases = given.ray_biases.shape[0] ? given.ray_biases.data : 0;
field.position_table = (const unsigned*)given.position_table.data;
field.ambient_table = (const unsigned*)given.ambient_table.data;
field.levels = given.levels.data;
field.lines = Lines{
    given.lines.data, given.lines.shape[0] / 13, given.far, given.fade_start, given.fade_slope};

int n_rays = given.ranges.shape[0] / 2, next = block * RAYS, end = next + RAYS < n_rays ? next + RAYS : n_rays;
int ray[LANES], count[LANES];
alignas(64) float x[LANES], y[LANES], z[LANES], active[LANES], rgb[3][LANES] = {};
alignas(64) float distance[LANES] = {}, number[LANES] = {}, first[LANES] = {}, light[LANES] = {};
alignas(64) float alpha[LANES] = {}, reach[LANES] = {}, spread[LANES] = {}, seen[LANES] = {};
for (int j = 0; j < LANES; j++) ray[j] = -1;
while (true) {
  int n_active = 0;
  for (int j = 0; j < LANES; j++) {
    x[j] = y[j] = z[j] = 0.5f, active[j] = 0.0f;
    while (true) {  // until the lane has a sample, or no ray is left
      if (ray[j] < 0) {
        if (next >= end) break;
        ray[j] = next++, count[j] = 0, light[j] = 1.0f, first[j] = 0.0f;
        alpha[j] = reach[j] = spread[j] = seen[j] = rgb[0][j] = rgb[1][j] = rgb[2][j] = 0.0f;
        distance[j] = 0.0f, number[j] = __builtin_ceilf(given.ranges.data[2 * ray[j]] / given.step - 0.5f);
      }
      const float *from = given.origins.data + 3 * ray[j], *to = given.directions.data + 3 * ray[j];
      while (light[j] > given.stop && active[j] == 0.0f) {
        float at = (number[j] + 0.5f) * given.step;
        if (!(at < given.ranges.data[2 * ray[j] + 1])) break;
        number[j] += 1.0f;
        float p[3], low = 1.0f, high = 0.0f;
        for (int c = 0; c < 3; c++) {
          p[c] = from[c] + at * to[c];
          low = p[c] < low ? p[c] : low, high = p[c] > high ? p[c] : high;
        }
        if (low < 0.0f || high > 1.0f) continue;
        int cell = 0;
        for (int c = 0; c < 3; c++) {
          int along = (int)(p[c] * given.resolution);
          cell = cell * given.resolution + (along < given.resolution ? along : given.resolution - 1);
        }
        if (!given.bits.data[cell]) continue;
        x[j] = p[0], y[j] = p[1], z[j] = p[2], distance[j] = at, active[j] = 1.0f;
        if (!count[j]++) first[j] = at;
      }
      if (active[j] != 0.0f) break;
      float* out = given.sums.data + 7 * ray[j];  // the ray has ended
      float share = alpha[j] / (seen[j] > 1e-9f ? seen[j] : 1e-9f);
      for (int c = 0; c < 3; c++) out[c] = rgb[c][j] * share;
      float mean = reach[j] / (alpha[j] > 1e-6f ? alpha[j] : 1e-6f);
      out[3] = alpha[j], out[4] = reach[j] + alpha[j] * first[j];
      out[5] = spread[j] - reach[j] * mean, out[6] = count[j];
      ray[j] = -1;
    }
    n_active += active[j] != 0.0f;
  }
  if (!n_active) break;
  const Field::weight* rest;
  floats found = field.density(Field::load(x), Field::load(y), Field::load(z), rest);
  floats clear = Field::exp(found * (-given.density_scale * given.step)), before = Field::load(light);
  floats w = Field::load(active) * before * (1.0f - clear), opacity = Field::load(alpha) + w;
  floats away = Field::load(distance) - Field::load(first), along = Field::load(reach) + w * away;
  floats square = Field::load(spread) + w * away * away;
  before = before * clear;
  ints shows = w > Field::max(opacity, (floats)given.least) * given.faint;
  __builtin_memcpy(light, &before, sizeof light), __builtin_memcpy(alpha, &opacity, sizeof alpha);
  __builtin_memcpy(reach, &along, sizeof reach), __builtin_memcpy(spread, &square, sizeof spread);
  if (!__builtin_reduce_or(shows)) continue;
  floats colours[3], shown = (floats)(shows & (ints)w);
  field.colour(rest, ray, colours);
  for (int c = 0; c < 3; c++) {
    floats value = Field::load(rgb[c]) + shown * colours[c];
    __builtin_memcpy(rgb[c], &value, sizeof value);
  }
  floats total = Field::load(seen) + shown;
  __builtin_memcpy(seen, &total, sizeof seen);
}
Networks::end();
