// Networks and grids of sixteen points side by side, each in a lane: what the bodies of the Warp
// native functions in `fused_rays.h` and `fused_image.h` begin with. The Python beside them adds
// the macros LEVELS, HIDDEN, AMX and HALF. The vectors are clang's: from this one source it
// makes AVX-512, AVX2 or NEON instructions.

enum { LANES = 16, TILE = 512, BLOCK = 8 };  // of an AMX tile: 16 neurons x 32 inputs
typedef float floats __attribute__((ext_vector_type(LANES)));
typedef unsigned whole __attribute__((ext_vector_type(LANES)));
typedef int ints __attribute__((ext_vector_type(LANES)));

struct Networks {
#if AMX  // a row of lanes holds pairs of bfloat16, the first one low
  enum { PAIR = 1 };  // rows of two numbers
  typedef whole row;
  typedef unsigned short weight;
#else
  enum { PAIR = 2 };
  typedef floats row;
  typedef float weight;
#endif
#define ROWS(n) (AMX ? ((n) + 31) / 32 * 16 : (n))  // rows of an input of n numbers
  enum {  // the widest layer: a hidden one, or backwards the features of both grids
    FEATURES = ROWS(2 * LEVELS) * 4 / PAIR,
    WIDER = HIDDEN > FEATURES ? HIDDEN : FEATURES,
    WIDEST = (WIDER + 63) / 64 * 64,
  };
  floats sums[WIDEST];

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

  // The two features of table rows: pairs of bfloat16 where they are HALF, else of float32.
  static inline void fetch(const unsigned* table, whole at, floats& a, floats& b) {
#if HALF
    whole pair = gather(table, at);
    a = (floats)(pair << 16);
    b = (floats)(pair & 0xffff0000u);
#elif defined(__AVX512F__)  // both at once, as one number of 64 bits
    typedef double plain __attribute__((vector_size(64)));
    typedef int places __attribute__((vector_size(32)));
    places low = (places)__builtin_shufflevector(at, at, 0, 1, 2, 3, 4, 5, 6, 7);
    places high = (places)__builtin_shufflevector(at, at, 8, 9, 10, 11, 12, 13, 14, 15);
    floats c = (floats)(__builtin_ia32_gathersiv8df((plain){}, table, low, -1, 8));
    floats d = (floats)(__builtin_ia32_gathersiv8df((plain){}, table, high, -1, 8));
    a = __builtin_shufflevector(c, d, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    b = __builtin_shufflevector(c, d, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#else
    for (int j = 0; j < LANES; j++) {
      const float* row = (const float*)table + 2 * at[j];
      a[j] = row[0], b[j] = row[1];
    }
#endif
  }

  // Two numbers for a network's input: bfloat16 beside AMX, rounded to nearest, ties away from 0.
  static inline void put(row* out, floats a, floats b) {
#if AMX
    out[0] = (((whole)a + 0x8000u) >> 16) | (((whole)b + 0x8000u) & 0xffff0000u);
#else
    out[0] = a, out[1] = b;
#endif
  }

  // One level of a grid, as `grid.lookup_kernel`: features a and b.
  static inline __attribute__((always_inline)) void level(
      const unsigned* table, const int* row, bool solid, bool hashed, floats x, floats y, floats z,
      floats& a, floats& b) {
    whole mask = (whole)(unsigned)row[4], cell_x = __builtin_convertvector(x, whole);
    whole cell_y = __builtin_convertvector(y, whole), cell_z = __builtin_convertvector(z, whole);
    floats w_x = x - __builtin_convertvector(cell_x, floats);
    floats w_y = y - __builtin_convertvector(cell_y, floats);
    floats w_z = z - __builtin_convertvector(cell_z, floats);
    unsigned step_y = hashed ? 2654435761u : row[2], step_z = hashed ? 805459861u : row[3];
    table += row[1] * (HALF ? 1 : 2);
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
      put(out + PAIR * l, a * inside, b * inside);
    }
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

  inline const weight* relu_layer(
      const weight* w, const row* in, int n_in, int n_out, const float* bias, row* out) {
    w = layer(w, in, n_in, n_out, bias);
    put(out, n_out, 0.0f);
    return w;
  }

  // Before the first layer and after the last one: the tiles' shapes.
  static inline void begin() {
#if AMX
    struct __attribute__((packed)) {
      char palette, start, zero[14];
      short columns[16];
      char rows[16];
    } tiles = {1};
    for (int t = 0; t < 8; t++) tiles.columns[t] = 64, tiles.rows[t] = 16;
    __builtin_ia32_tile_loadconfig(&tiles);
#endif
  }
  static inline void end() {
#if AMX
    __builtin_ia32_tilerelease();
#endif
  }

  // A layer's result, at least `least`, as the next one's input.
  inline void put(row* out, int n_out, float least) const {
    floats low = least;
    for (int k = 0; k < n_out / 2; k++)
      put(out + PAIR * k, max(sums[2 * k], low), max(sums[2 * k + 1], low));
  }
};

// Moved lines, by sets of n, and what they do to points, as `line_warp.warp_kernel`.
struct Lines {
  const float* numbers;
  int n;
  float far, fade_start, fade_slope;

  inline void warp(int set, floats& x, floats& y, floats z) const {
    floats total_x = 0.0f, total_y = 0.0f, total = far;
    for (int m = set * n; m < (set + 1) * n; m++) {
      const float* line = numbers + 13 * m;  // as `line_warp.line_table`
      floats away_x = x - line[0], away_y = y - line[1];
      floats t = Networks::clamped(away_x * line[4] + away_y * line[5], 0.0f, 1.0f);
      floats right = Networks::max(away_x * line[10] + away_y * line[11], floats{});
      away_x -= t * line[2], away_y -= t * line[3];
      floats near = away_x * away_x + away_y * away_y + right * right + line[12];
      floats w = 1.0f / (near * near);
      total += w;
      total_x += w * (line[6] + t * line[8]);
      total_y += w * (line[7] + t * line[9]);
    }
    floats share = Networks::clamped((z - fade_start) * fade_slope, 0.0f, 1.0f) / total;
    x -= share * total_x, y -= share * total_y;
  }
};
