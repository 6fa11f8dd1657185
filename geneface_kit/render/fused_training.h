// Samples through a field of two grids and three networks, and backwards the gradients of all that
// is learned there, see `fused_training.py`. Backwards the numbers of the networks are made again,
// none of them is kept. The Python adds BACKWARD, 1 or 0, and SAMPLES of a block.

struct Training : Networks {
#define PACKETS(n) (((n) + LANES - 1) / LANES * LANES)
  enum {
    PLACE = ROWS(2 * LEVELS), WIDTH = ROWS(HIDDEN),  // rows
    PLACES = PLACE * 2 / PAIR,  // numbers in those
  };
  Lines lines;
  const unsigned *position_table, *ambient_table;
  const int* levels;
  const weight *weights, *transposed_weights;
  const float *density_weights, *ambient_biases, *density_biases, *colour_biases;
  float scale;
  int frame[LANES], ray[LANES];  // whose biases each lane takes
  floats x, y, z, at_x, at_y, raw;  // warped positions, ambient points of [0, 1], log densities
  row input[PACKETS(2 * PLACE)], ambient_1[WIDTH], ambient_2[WIDTH];
  row density_1[WIDTH], features[WIDTH], colour_1[WIDTH], flow_rows[WIDEST];
  floats rgb[3], flow[WIDEST], place_flow[WIDEST];  // flow: gradients on their way back
  alignas(64) float across[WIDEST * LANES];
#if AMX
  typedef weight halves __attribute__((ext_vector_type(LANES)));
  row pairs[WIDEST / LANES][LANES];
  weight inputs[LANES][2 * LANES];
#endif
  float* weight_gradient;  // of the layers from the last one to the first one

  static inline void store(float* to, floats values) { __builtin_memcpy(to, &values, sizeof values); }

  // The lanes from `first` on that have its number; `next` is the first one beyond.
  static inline ints run(const int* of_lane, int first, int& next) {
    ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (next = first + 1; next < LANES && of_lane[next] == of_lane[first];) next++;
    return (lanes >= first) & (lanes < next);
  }

  inline void add(const float* biases, const int* of_lane) {
    for (int j = 0, next; j < LANES; j = next) {
      ints lanes = run(of_lane, j, next);
      const float* row = biases + of_lane[j] * HIDDEN;
      for (int o = 0; o < HIDDEN; o++) sums[o] += (floats)(lanes & (ints)((floats)row[o]));
    }
  }

  inline void forward() {
    if (lines.n && !BACKWARD) {
      floats from_x = x, from_y = y;
      for (int j = 0, next; j < LANES; j = next) {
        ints lanes = run(frame, j, next);
        floats to_x = from_x, to_y = from_y;
        lines.warp(frame[j], to_x, to_y, z);
        x = lanes ? to_x : x, y = lanes ? to_y : y;
      }
    }
    encode(position_table, levels, true, x, y, z, input);
    const weight* w = layer(weights, input, PLACE, HIDDEN, 0);
    add(ambient_biases, frame), put(ambient_1, HIDDEN, 0.0f);
    w = layer(w, ambient_1, WIDTH, HIDDEN, 0);
    put(ambient_2, HIDDEN, 0.0f);
    w = layer(w, ambient_2, WIDTH, 2, 0);
    at_x = 1.0f - 1.0f / (exp(2.0f * sums[0]) + 1.0f);  // (tanh + 1) / 2
    at_y = 1.0f - 1.0f / (exp(2.0f * sums[1]) + 1.0f);
    encode(ambient_table, levels + 6 * LEVELS, false, at_x, at_y, at_y, input + PLACE);
    w = layer(w, input, 2 * PLACE, HIDDEN, 0);
    add(density_biases, frame), put(density_1, HIDDEN, 0.0f);
    w = layer(w, density_1, WIDTH, HIDDEN, 0);
    put(features, HIDDEN, 0.0f);
    w = layer(w, features, WIDTH, 1, 0);
    raw = sums[0];
    w = layer(w, features, WIDTH, HIDDEN, 0);
    add(colour_biases, ray), put(colour_1, HIDDEN, 0.0f);
    layer(w, colour_1, WIDTH, 3, 0);
    for (int c = 0; c < 3; c++) rgb[c] = 1.0f / (1.0f + exp(-sums[c]));
  }

#if BACKWARD
  // to[lane][row] of rows[row][lane], n of them. Interleaving the halves turns the eight bits of an index by
  // one: after four times row and lane have changed places.
  static inline void transpose(const floats* rows, int n, float* to) {
    for (int first = 0; first < n; first += LANES) {
      floats a[LANES], b[LANES];
      for (int i = 0; i < LANES; i++) a[i] = rows[first + i];
      for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < LANES / 2; i++) {
          b[2 * i] = low_pairs(a[i], a[i + 8]), b[2 * i + 1] = high_pairs(a[i], a[i + 8]);
        }
        for (int i = 0; i < LANES; i++) a[i] = b[i];
      }
      for (int i = 0; i < LANES; i++) store(to + i * n + first, a[i]);
    }
  }
  static inline floats low_pairs(floats a, floats b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static inline floats high_pairs(floats a, floats b) {
    return __builtin_shufflevector(
        a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }

  // Adds input x flow, summed over the lanes, to a layer's gradient by tiles of 16 inputs and 16
  // results: n_in rows in whole packets, n_out results. Leaves the transposed flow in `across`.
  inline void outer(const row* input, int n_in, int n_out) {
    transpose(flow, n_out, across);
#if AMX
#define ADDED(tile) \
  __builtin_ia32_tileloadd64(4 + tile, pairs[m + tile], 64); \
  __builtin_ia32_tileloadd64(tile, weight_gradient, 64); \
  __builtin_ia32_tdpbf16ps(tile, 6, 4 + tile); \
  __builtin_ia32_tilestored64(tile, weight_gradient, 64); \
  weight_gradient += LANES * LANES
    int n_tiles = n_out / LANES;
    for (int m = 0; m < n_tiles; m++)  // pairs of samples; the lower half of a tile stays 0
      for (int k = 0; k < LANES / 2; k++) {
        const float* samples = across + 2 * k * n_out + LANES * m;
        put(pairs[m] + k, load(samples), load(samples + n_out));
      }
    for (int i = 0; i < n_in; i += LANES / 2) {
      for (int k = 0; k < LANES / 2; k++) {
        halves low = __builtin_convertvector(input[i + k] & 0xffffu, halves);
        halves high = __builtin_convertvector(input[i + k] >> 16, halves);
        __builtin_memcpy(inputs[2 * k], &low, sizeof low);
        __builtin_memcpy(inputs[2 * k + 1], &high, sizeof high);
      }
      __builtin_ia32_tileloadd64(6, inputs, 64);
      for (int m = 0; m < n_tiles; m += 2) {
        ADDED(0);
        if (m + 1 < n_tiles) { ADDED(1); }
      }
    }
#undef ADDED
#else
    for (int i = 0; i < n_in; i += LANES)
      for (int o = 0; o < n_out; o += LANES)
        for (int part = i; part < i + LANES; part += BLOCK, weight_gradient += BLOCK * LANES) {
          floats sum[BLOCK];
          for (int k = 0; k < BLOCK; k++) sum[k] = load(weight_gradient + LANES * k);
          for (int j = 0; j < LANES; j++) {
            floats values = load(across + j * n_out + o);
            for (int k = 0; k < BLOCK; k++) sum[k] += values * ((const float*)(input + part + k))[j];
          }
          for (int k = 0; k < BLOCK; k++) store(weight_gradient + LANES * k, sum[k]);
        }
#endif
  }

  // What flows back to a layer's n_in inputs from its n_out results.
  inline const weight* back(const weight* w, int n_out, int n_in) {
    for (int k = 0; k < (ROWS(n_out) + PAIR - 1) / PAIR; k++)
      put(flow_rows + PAIR * k, flow[2 * k], flow[2 * k + 1]);
    return layer(w, flow_rows, ROWS(n_out), n_in, 0);
  }

  // The sums become the flow where the layer before gave something.
  inline void through(const row* given) {
    for (int o = 0; o < HIDDEN; o++) {
#if AMX
      ints shows = (o & 1 ? given[o / 2] >> 16 : given[o / 2] & 0xffffu) != 0u;
#else
      ints shows = given[o] > 0.0f;
#endif
      flow[o] = (floats)(shows & (ints)sums[o]);
    }
  }

  // After `outer`, whose transposed flow it takes.
  inline void add_to_biases(float* gradient, const int* of_lane) {
    for (int j = 0; j < LANES; j++) {
      float* row = gradient + of_lane[j] * HIDDEN;
      for (int o = 0; o < HIDDEN; o += LANES)
        store(row + o, load(row + o) + load(across + j * HIDDEN + o));
    }
  }

  inline void small(const floats* values, int n) {  // a flow of n results, filled up with zeros
    for (int o = 0; o < 32; o++) flow[o] = o < n ? values[o] : (floats)0.0f;
  }

  // What flows back to a point of the 2D grid, from its features' flow.
  inline void to_ambient_point(const floats* from, floats& along_x, floats& along_y) const {
    along_x = along_y = 0.0f;
    for (int l = 0; l < LEVELS; l++) {
      const int* row = levels + 6 * (LEVELS + l);
      float size;
      __builtin_memcpy(&size, row, sizeof size);
      floats p_x = at_x * size + 0.5f, p_y = at_y * size + 0.5f;
      whole cell_x = __builtin_convertvector(p_x, whole);
      whole cell_y = __builtin_convertvector(p_y, whole), mask = (whole)(unsigned)row[4];
      floats w_x = p_x - __builtin_convertvector(cell_x, floats);
      floats w_y = p_y - __builtin_convertvector(cell_y, floats), value[4];
      whole near = cell_y * (row[5] ? 2654435761u : row[2]);
      whole next = near + (row[5] ? 2654435761u : row[2]);
      for (int k = 0; k < 4; k++) {
        whole column = cell_x + (unsigned)(k & 1), line = k < 2 ? near : next;
        floats a, b;
        fetch(ambient_table + 2 * row[1], (row[5] ? column ^ line : column + line) & mask, a, b);
        value[k] = from[2 * l] * a + from[2 * l + 1] * b;
      }
      along_x += size * lerp(w_y, value[1] - value[0], value[3] - value[2]);
      along_y += size * lerp(w_x, value[2] - value[0], value[3] - value[1]);
    }
  }

  // From the flow to densities, colours and sums of ambient coordinates to all that is learned. The
  // flow to the grids' features is left in `place_flow`.
  inline void backward(
      floats of_density, const floats* of_colour, floats of_ambient, float* ambient_gradient,
      float* density_gradient, float* colour_gradient) {
    const weight* w = transposed_weights;
    floats to[3];
    for (int c = 0; c < 3; c++) to[c] = of_colour[c] * rgb[c] * (1.0f - rgb[c]);
    small(to, 3), outer(colour_1, WIDTH, LANES);
    w = back(w, 3, HIDDEN), through(colour_1);
    outer(features, WIDTH, HIDDEN), add_to_biases(colour_gradient, ray);
    w = back(w, HIDDEN, HIDDEN);
    to[0] = of_density * scale * exp(min(raw, 15.0f));
    for (int o = 0; o < HIDDEN; o++) sums[o] += density_weights[o] * to[0];
    small(to, 1), outer(features, WIDTH, LANES);
    through(features), outer(density_1, WIDTH, HIDDEN);
    w = back(w, HIDDEN, HIDDEN), through(density_1);
    outer(input, PACKETS(2 * PLACE), HIDDEN), add_to_biases(density_gradient, frame);
    w = back(w, HIDDEN, 2 * PLACES);
    for (int i = 0; i < 2 * PLACES; i++) place_flow[i] = sums[i];
    to_ambient_point(place_flow + PLACES, to[0], to[1]);
    floats ambient[2] = {at_x, at_y};
    for (int c = 0; c < 2; c++) {  // the point is (tanh + 1) / 2
      floats value = 2.0f * ambient[c] - 1.0f, sign = value > 0.0f ? (floats)1.0f : (floats)-1.0f;
      sign = value == 0.0f ? (floats)0.0f : sign;
      to[c] = (0.5f * to[c] + of_ambient * sign) * (1.0f - value * value);
    }
    small(to, 2), outer(ambient_2, WIDTH, LANES);
    w = back(w, 2, HIDDEN), through(ambient_2);
    outer(ambient_1, WIDTH, HIDDEN);
    w = back(w, HIDDEN, HIDDEN), through(ambient_1);
    outer(input, PACKETS(PLACE), HIDDEN);
    add_to_biases(ambient_gradient, frame);
    back(w, HIDDEN, PLACES);
    for (int i = 0; i < PLACES; i++) place_flow[i] += sums[i];
  }
#endif
};

Networks::begin();
Training field = {};
field.lines = Lines{given.lines.data, given.n_lines, given.far, given.fade_start, given.fade_slope};
field.position_table = (const unsigned*)given.position_table.data;
field.ambient_table = (const unsigned*)given.ambient_table.data;
field.levels = given.levels.data, field.scale = given.density_scale;
field.weights = (const Training::weight*)given.weights.data;
field.ambient_biases = given.ambient_biases.data, field.density_biases = given.density_biases.data;
field.colour_biases = given.colour_biases.data;
const int* rays = given.rays.data;
int n = given.rays.shape[0], at = block * SAMPLES, end = at + SAMPLES < n ? at + SAMPLES : n;
while (at > 0 && at < n && rays[at] == rays[at - 1]) at++;  // a ray lies in one block
while (end < n && rays[end] == rays[end - 1]) end++;
for (; at < end; at += LANES) {
  int count = end - at < LANES ? end - at : LANES;
  for (int j = 0; j < LANES; j++) {
    int k = at + (j < count ? j : count - 1);
    field.ray[j] = rays[k], field.frame[j] = given.frames.data[rays[k]];
#if BACKWARD  // where it was moved to
    const float* p = given.points.data + 5 * k;
#else
    const float* p = given.positions.data + 3 * k;
#endif
    field.x[j] = p[0], field.y[j] = p[1], field.z[j] = p[2];
  }
  field.forward();
#if BACKWARD
  floats of_density = 0.0f, of_colour[3] = {0.0f, 0.0f, 0.0f}, of_ambient = 0.0f;
  for (int j = 0; j < count; j++) {
    of_density[j] = given.density.data[at + j], of_ambient[j] = given.ambient.data[at + j];
    for (int c = 0; c < 3; c++) of_colour[c][j] = given.colour.data[3 * (at + j) + c];
  }
  int n_weights = given.weight_gradient.shape[0] / given.n_parts;
  int n_biases = given.ambient_bias_gradient.shape[0] / given.n_parts;
  field.transposed_weights = (const Training::weight*)given.transposed_weights.data;
  field.density_weights = given.density_weights.data;
  field.weight_gradient = given.weight_gradient.data + part * n_weights;
  field.backward(
      of_density, of_colour, of_ambient, given.ambient_bias_gradient.data + part * n_biases,
      given.density_bias_gradient.data + part * n_biases, given.colour_bias_gradient.data);
  for (int i = 0; i < 2 * LEVELS; i++) {
    int first = i < LEVELS ? 2 * i : Training::PLACES + 2 * (i - LEVELS);
    for (int j = 0; j < count; j++)
      for (int k = 0; k < 2; k++)
        given.feature_gradient.data[2 * ((long)i * n + at + j) + k] = field.place_flow[first + k][j];
  }
#else
  floats density = field.scale * Training::exp(Training::min(field.raw, (floats)20.0f));
  floats ambient_x = 2.0f * field.at_x - 1.0f, ambient_y = 2.0f * field.at_y - 1.0f;
  floats ambient = __builtin_elementwise_abs(ambient_x) + __builtin_elementwise_abs(ambient_y);
  for (int j = 0; j < count; j++) {
    given.density.data[at + j] = density[j], given.ambient.data[at + j] = ambient[j];
    for (int c = 0; c < 3; c++) given.colour.data[3 * (at + j) + c] = field.rgb[c][j];
    float* point = given.points.data + 5 * (at + j);
    point[0] = field.x[j], point[1] = field.y[j], point[2] = field.z[j];
    point[3] = field.at_x[j], point[4] = field.at_y[j];
  }
#endif
}
Networks::end();
