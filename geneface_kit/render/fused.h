// Rays through a field of two grids and three networks: the body of a Warp native function, which
// `fused.py` completes by LEVELS, HIDDEN (enumerators), AMX (a macro), and its arguments.
//
// Sixteen rays go side by side, each in a lane; a lane whose ray has ended takes the next one. The
// vectors are clang's: from this one source it makes AVX-512, AVX2 or NEON instructions.

enum { LANES = 16, TILE = 512, BLOCK = 8 };  // of an AMX tile: 16 neurons x 32 inputs
typedef float floats __attribute__((ext_vector_type(LANES)));
typedef unsigned whole __attribute__((ext_vector_type(LANES)));
typedef int ints __attribute__((ext_vector_type(LANES)));

struct Field {
#if AMX  // bfloat16 pairs, first one low, a row of sixteen lanes each
  enum { PLACE = (LEVELS + 15) / 16 * 16, WIDTH = HIDDEN / 2 };  // rows of a grid, of a layer
  typedef unsigned row __attribute__((ext_vector_type(LANES)));
  typedef unsigned short weight;
#else
  enum { PLACE = 2 * LEVELS, WIDTH = HIDDEN };
  typedef floats row;
  typedef float weight;
#endif
  row input[2 * PLACE], hidden[WIDTH], features[WIDTH];
  floats sums[HIDDEN < 16 ? 16 : HIDDEN];
  const weight* weights;
  const float* biases;
  const unsigned *position_table, *ambient_table;
  const int* levels;
  const float* lines;
  int n_lines;
  float far, fade_start, fade_slope;

  static inline floats min(floats a, floats b) { return __builtin_elementwise_min(a, b); }
  static inline floats max(floats a, floats b) { return __builtin_elementwise_max(a, b); }
  static inline floats lerp(floats w, floats a, floats b) { return a + w * (b - a); }
  static inline floats clamped(floats x, float low, float high) {
    return min(max(x, (floats)low), (floats)high);
  }
  static inline floats load(const float* from) {
    floats values;
    __builtin_memcpy(&values, from, sizeof values);
    return values;
  }

  static inline floats exp(floats x) {  // to 2 units in the last place, for |x| <= 80
    x = clamped(x, -80.0f, 80.0f);
    floats n = __builtin_elementwise_floor(x * 1.44269504f + 0.5f);
    floats r = x - n * 0.693359375f + n * 2.12194440e-4f, p = (floats)1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    ints power = (__builtin_convertvector(n, ints) + 127) << 23;
    return p * (floats)power;
  }

  static inline whole gather(const unsigned* table, whole at) {
#ifdef __AVX512F__
    typedef int plain __attribute__((vector_size(64)));
    return (whole)(__builtin_ia32_gathersiv16si((plain){}, table, (plain)at, -1, 4));
#else
    whole values;
    for (int j = 0; j < LANES; j++) values[j] = table[at[j]];
    return values;
#endif
  }

  // The two features of table rows: pairs of bfloat16 beside AMX, else of float32.
  static inline void fetch(const unsigned* table, whole at, floats& a, floats& b) {
#if AMX
    whole pair = gather(table, at);
    a = (floats)(pair << 16);
    b = (floats)(pair & 0xffff0000u);
#else
    a = (floats)(gather(table, at << 1));
    b = (floats)(gather(table + 1, at << 1));
#endif
  }

#if AMX
  static inline whole packed(floats a, floats b) {  // rounded to nearest, ties away from zero
    whole low = ((whole)a + 0x8000u) >> 16;
    return low | (((whole)b + 0x8000u) & 0xffff0000u);
  }
#endif

  // One level of a grid, as `grid.grid_encode_torch`: features a and b.
  static inline __attribute__((always_inline)) void level(
      const unsigned* table, const int* row, bool solid, bool hashed, floats x, floats y, floats z,
      floats& a, floats& b) {
    whole mask = (whole)(unsigned)row[4], cell_x = __builtin_convertvector(x, whole);
    whole cell_y = __builtin_convertvector(y, whole), cell_z = __builtin_convertvector(z, whole);
    floats w_x = x - __builtin_convertvector(cell_x, floats);
    floats w_y = y - __builtin_convertvector(cell_y, floats);
    floats w_z = z - __builtin_convertvector(cell_z, floats);
    unsigned step_y = hashed ? 2654435761u : row[2], step_z = hashed ? 805459861u : row[3];
    table += row[1] * (AMX ? 1 : 2);
    auto edge = [&](whole rest, floats& a, floats& b) {
      whole near = hashed ? cell_x ^ rest : cell_x + rest;
      whole next = hashed ? (cell_x + 1) ^ rest : near + 1;
      floats c, d;
      fetch(table, near & mask, a, b);
      fetch(table, next & mask, c, d);
      a = lerp(w_x, a, c), b = lerp(w_x, b, d);
    };
    auto face = [&](whole layer, floats& a, floats& b) {
      whole near = cell_y * step_y, next = near + step_y;
      floats c, d;
      edge(hashed ? near ^ layer : near + layer, a, b);
      edge(hashed ? next ^ layer : next + layer, c, d);
      a = lerp(w_y, a, c), b = lerp(w_y, b, d);
    };
    if (!solid) return face((whole)0u, a, b);
    whole near = cell_z * step_z;
    floats c, d;
    face(near, a, b);
    face(near + step_z, c, d);
    a = lerp(w_z, a, c), b = lerp(w_z, b, d);
  }

  static inline __attribute__((always_inline)) void encode(
      const unsigned* table, const int* levels, bool solid, floats x, floats y, floats z,
      row* out) {
    ints within = (x >= 0.0f) & (x <= 1.0f) & (y >= 0.0f) & (y <= 1.0f);
    floats inside = (floats)(within & 0x3f800000);  // 1 or 0; z always is inside
    x *= inside, y *= inside;
    for (int l = 0; l < LEVELS; l++) {
      const int* row = levels + 6 * l;
      float scale;
      __builtin_memcpy(&scale, row, sizeof scale);
      floats at_x = x * scale + 0.5f, at_y = y * scale + 0.5f, at_z = z * scale + 0.5f, a, b;
      if (row[5]) level(table, row, solid, true, at_x, at_y, at_z, a, b);
      else level(table, row, solid, false, at_x, at_y, at_z, a, b);
#if AMX
      out[l] = packed(a * inside, b * inside);
#else
      out[2 * l] = a * inside, out[2 * l + 1] = b * inside;
#endif
    }
  }

  // Where points were at rest, as `line_warp.line_warp_torch`.
  inline void warp(floats& x, floats& y, floats z) const {
    floats total_x = 0.0f, total_y = 0.0f, total = far;
    for (int m = 0; m < n_lines; m++) {
      const float* line = lines + 11 * m;  // start, along, along / length^2, moved, change, softness
      floats away_x = x - line[0], away_y = y - line[1];
      floats t = clamped(away_x * line[4] + away_y * line[5], 0.0f, 1.0f);
      away_x -= t * line[2], away_y -= t * line[3];
      floats near = away_x * away_x + away_y * away_y + line[10];
      floats w = 1.0f / (near * near);
      total += w;
      total_x += w * (line[6] + t * line[8]);
      total_y += w * (line[7] + t * line[9]);
    }
    floats share = clamped((z - fade_start) * fade_slope, 0.0f, 1.0f) / total;
    x -= share * total_x, y -= share * total_y;
  }

  // sums = weights @ input + bias, for n_out neurons; the weights in the order they are asked for.
  inline const weight* layer(const weight* w, const row* in, int n_in, int n_out, const float* bias) {
#if AMX
    int n_k = n_in / 16, n_m = (n_out + 15) / 16;
#define FED(m) \
  __builtin_ia32_tileloadd64(4 + m % 2, w + (m * n_k + k) * TILE, 64); \
  __builtin_ia32_tdpbf16ps(m, 4 + m % 2, 6)
    for (int m = 0; m < n_m; m += 4, w += (n_m > 2 ? 4 : n_m) * n_k * TILE) {
      __builtin_ia32_tilezero(0), __builtin_ia32_tilezero(1);
      __builtin_ia32_tilezero(2), __builtin_ia32_tilezero(3);
      for (int k = 0; k < n_k; k++) {
        __builtin_ia32_tileloadd64(6, in + 16 * k, 64);
        FED(0);
        if (n_m > 1) { FED(1); }
        if (n_m > 2) { FED(2); FED(3); }
      }
      __builtin_ia32_tilestored64(0, sums + 16 * m, 64);
      if (n_m > 1) __builtin_ia32_tilestored64(1, sums + 16 * m + 16, 64);
      if (n_m > 2) {
        __builtin_ia32_tilestored64(2, sums + 16 * m + 32, 64);
        __builtin_ia32_tilestored64(3, sums + 16 * m + 48, 64);
      }
    }
#undef FED
    if (bias) for (int o = 0; o < n_out; o++) sums[o] += bias[o];
#else
#ifdef __AVX512F__
    enum { AT_ONCE = 8 };  // as many sums as there are registers for
#else
    enum { AT_ONCE = 4 };
#endif
    for (int o = 0; o < n_out; o += BLOCK, w += n_in * BLOCK)
      for (int part = 0; part < BLOCK; part += AT_ONCE) {
        floats sum[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) sum[i] = bias ? (floats)bias[o + part + i] : (floats)0.0f;
        for (int k = 0; k < n_in; k++)
          for (int i = 0; i < AT_ONCE; i++) sum[i] += in[k] * w[k * BLOCK + part + i];
        for (int i = 0; i < AT_ONCE; i++) sums[o + part + i] = sum[i];
      }
#endif
    return w;
  }

  inline const weight* relu_layer(const weight* w, const row* in, int n_in, const float* bias, row* out) {
    w = layer(w, in, n_in, HIDDEN, bias);
    floats zero = 0.0f;
#if AMX
    for (int k = 0; k < WIDTH; k++) out[k] = packed(max(sums[2 * k], zero), max(sums[2 * k + 1], zero));
#else
    for (int k = 0; k < WIDTH; k++) out[k] = max(sums[k], zero);
#endif
    return w;
  }

  // exp of the density, per box length; leaves the features for `colour`, and where its weights are.
  inline floats density(floats x, floats y, floats z, const weight*& rest) {
    if (n_lines) warp(x, y, z);
    encode(position_table, levels, true, x, y, z, input);
    const weight* w = relu_layer(weights, input, PLACE, biases, hidden);
    w = layer(relu_layer(w, hidden, WIDTH, 0, features), features, WIDTH, 2, 0);
    floats at_x = 1.0f - 1.0f / (exp(2.0f * sums[0]) + 1.0f);  // (tanh + 1) / 2
    floats at_y = 1.0f - 1.0f / (exp(2.0f * sums[1]) + 1.0f);
    encode(ambient_table, levels + 6 * LEVELS, false, at_x, at_y, at_y, input + PLACE);
    w = relu_layer(w, input, 2 * PLACE, biases + HIDDEN, hidden);
    rest = layer(relu_layer(w, hidden, WIDTH, 0, features), features, WIDTH, 1, 0);
    return exp(min(sums[0], (floats)20.0f));
  }

  inline void colour(const weight* w, floats* rgb) {
    w = relu_layer(w, features, WIDTH, biases + 2 * HIDDEN, hidden);
    layer(w, hidden, WIDTH, 3, 0);
    for (int c = 0; c < 3; c++) rgb[c] = 1.0f / (1.0f + exp(-sums[c]));
  }
};

#if AMX
struct __attribute__((packed)) { char palette, start, zero[14]; short columns[16]; char rows[16]; } tiles = {1};
for (int t = 0; t < 8; t++) tiles.columns[t] = 64, tiles.rows[t] = 16;
__builtin_ia32_tile_loadconfig(&tiles);
#endif
Field field = {};
field.weights = (const Field::weight*)weights.data, field.biases = biases.data;
field.position_table = (const unsigned*)position_table.data;
field.ambient_table = (const unsigned*)ambient_table.data;
field.levels = levels.data, field.lines = lines.data, field.n_lines = lines.shape[0] / 11;
field.far = far, field.fade_start = fade_start, field.fade_slope = fade_slope;

int n_rays = ranges.shape[0], next = block * RAYS, end = next + RAYS < n_rays ? next + RAYS : n_rays;
int ray[LANES], count[LANES];
alignas(64) float x[LANES], y[LANES], z[LANES], distance[LANES], number[LANES], first[LANES];
alignas(64) float light[LANES], active[LANES], alpha[LANES], reach[LANES], spread[LANES], seen[LANES];
alignas(64) float rgb[3][LANES];
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
        distance[j] = 0.0f, number[j] = __builtin_ceilf(ranges.data[ray[j]][0] / step - 0.5f);
      }
      const auto &from = origins.data[ray[j]], &to = directions.data[ray[j]];
      while (light[j] > stop && active[j] == 0.0f) {
        float at = (number[j] + 0.5f) * step;
        if (!(at < ranges.data[ray[j]][1])) break;
        number[j] += 1.0f;
        float p[3], low = 1.0f, high = 0.0f;
        for (int c = 0; c < 3; c++) {
          p[c] = from[c] + at * to[c];
          low = p[c] < low ? p[c] : low, high = p[c] > high ? p[c] : high;
        }
        if (low < 0.0f || high > 1.0f) continue;
        int cell = 0;
        for (int c = 0; c < 3; c++) {
          int along = (int)(p[c] * resolution);
          cell = cell * resolution + (along < resolution ? along : resolution - 1);
        }
        if (!bits.data[cell]) continue;
        x[j] = p[0], y[j] = p[1], z[j] = p[2], distance[j] = at, active[j] = 1.0f;
        if (!count[j]++) first[j] = at;
      }
      if (active[j] != 0.0f) break;
      float* out = sums.data + 7 * ray[j];  // the ray has ended
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
  floats clear = Field::exp(found * (-density_scale * step)), before = Field::load(light);
  floats w = Field::load(active) * before * (1.0f - clear), opacity = Field::load(alpha) + w;
  floats away = Field::load(distance) - Field::load(first), along = Field::load(reach) + w * away;
  floats square = Field::load(spread) + w * away * away;
  before = before * clear;
  ints shows = w > Field::max(opacity, (floats)least) * faint;
  __builtin_memcpy(light, &before, sizeof light), __builtin_memcpy(alpha, &opacity, sizeof alpha);
  __builtin_memcpy(reach, &along, sizeof reach), __builtin_memcpy(spread, &square, sizeof spread);
  if (!__builtin_reduce_or(shows)) continue;
  floats colours[3], shown = (floats)(shows & (ints)w);
  field.colour(rest, colours);
  for (int c = 0; c < 3; c++) {
    floats value = Field::load(rgb[c]) + shown * colours[c];
    __builtin_memcpy(rgb[c], &value, sizeof value);
  }
  floats total = Field::load(seen) + shown;
  __builtin_memcpy(seen, &total, sizeof seen);
}
#if AMX
__builtin_ia32_tilerelease();
#endif
