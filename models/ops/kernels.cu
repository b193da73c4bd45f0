// The kernels of models/ops, behind C functions that ctypes calls (library.py).
//
// A kernel is a functor that computes one item of the output; `for_each` runs it over all items, on the GPU as a
// grid-stride loop. A plain C++ compiler (g++ -x c++) makes the same functions for tensors in main memory from this
// file: that is how tests check the functors where there is no GPU.
//
// Sums and activations are computed in float, whatever the type T of the tensors. Index is the type of all offsets: 64
// bits only where a tensor needs it, since a GPU divides 32-bit numbers several times faster.

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define ANYWHERE __host__ __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#define ANYWHERE inline
#define UNROLL
#endif

#ifndef INDEX_LIMIT
#define INDEX_LIMIT (int64_t(1) << 30)  // half the range of 32 bits: the last step of a loop cannot overflow
#endif

namespace {

constexpr int INVALID_VALUE = 1;  // cudaErrorInvalidValue

#ifdef __CUDACC__
constexpr int THREADS = 256;     // per block
constexpr int MAX_BLOCKS = 8192;  // fill any GPU several times over; threads beyond take several items each

template <typename Index, typename Body>
__global__ void __launch_bounds__(THREADS) run(Body body, Index count) {
  body.begin();
  const Index step = Index(gridDim.x) * THREADS;
  for (Index item = Index(blockIdx.x) * THREADS + threadIdx.x; item < count; item += step) body(item);
}
#endif

// body.begin() once in every thread, then body(item) once for each item. Returns a cudaError_t, 0 for success.
template <typename Index, typename Body>
int for_each(const Body& body, int64_t count, void* stream) {
  if (count <= 0) return 0;
#ifdef __CUDACC__
  const int blocks = int(std::min<int64_t>((count + THREADS - 1) / THREADS, MAX_BLOCKS));
  run<Index><<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(body, Index(count));
  return cudaGetLastError();
#else
  const Index threads = 7;  // any number works; one that divides few sizes reveals a wrong stride
  for (Index thread = 0; thread < threads; ++thread) {
    Body own = body;
    own.begin();
    for (Index item = thread; item < Index(count); item += threads) own(item);
  }
  return 0;
#endif
}

// ---- bias, noise, leaky ReLU, gain, clamp ----------------------------------------------------------------------------

// V neighbours in memory, read and written at once; the address must be a multiple of their size.
template <typename T, int V>
struct alignas(sizeof(T) * V) Pack {
  T value[V];

  static ANYWHERE Pack load(const T* from, int count) {
    if (count == V) return *reinterpret_cast<const Pack*>(from);
    Pack pack{};
    UNROLL
    for (int i = 0; i < V; ++i) {
      if (i < count) pack.value[i] = from[i];
    }
    return pack;
  }

  ANYWHERE void store(T* to, int count) const {
    if (count == V) {
      *reinterpret_cast<Pack*>(to) = *this;
      return;
    }
    UNROLL
    for (int i = 0; i < V; ++i) {
      if (i < count) to[i] = value[i];
    }
  }
};

struct Activation {
  float slope, gain, clamp;  // clamp < 0: none

  ANYWHERE float operator()(float x) const {
    const float y = (x > 0 ? x : x * slope) * gain;
    if (clamp < 0) return y;
    return y < -clamp ? -clamp : y > clamp ? clamp : y;  // NaN stays NaN
  }

  // The gradient of x, from that of y = operator()(x). y has the sign of x, since slope and gain are not negative.
  ANYWHERE float backward(float gradient, float y) const {
    if (clamp >= 0 && (y <= -clamp || y >= clamp)) return 0;
    return (y > 0 ? gradient : gradient * slope) * gain;
  }
};

// x, y: (images, channels, pixels), or (images, pixels, channels) if channels_last. Item: V neighbours in memory.
template <typename T, typename Index, int V>
struct BiasAct {
  const T* x;
  const float* bias;   // (channels) or null
  const float* noise;  // (1 or images, pixels) or null
  T* y;
  Index count, channels, pixels;
  bool noise_per_image, channels_last;
  Activation activation;

  ANYWHERE void begin() {}

  ANYWHERE void operator()(Index item) const {
    const Index first = item * V;
    const int here = count - first < V ? int(count - first) : V;
    Index channel = channels_last ? first % channels : first / pixels % channels;
    Index pixel = channels_last ? first / channels % pixels : first % pixels;
    Index image = first / (channels * pixels);
    Pack<T, V> pack = Pack<T, V>::load(x + first, here);
    UNROLL
    for (int i = 0; i < V; ++i) {
      if (i >= here) break;
      float value = float(pack.value[i]);
      if (noise) value += noise[(noise_per_image ? image * pixels : 0) + pixel];
      if (bias) value += bias[channel];
      pack.value[i] = T(activation(value));
      if (channels_last) {
        if (++channel == channels) channel = 0, ++pixel;
        if (pixel == pixels) pixel = 0, ++image;
      } else {
        if (++pixel == pixels) pixel = 0, ++channel;
        if (channel == channels) channel = 0, ++image;
      }
    }
    pack.store(y + first, here);
  }
};

// All tensors have the same memory layout. Item: V neighbours.
template <typename T, typename Index, int V>
struct BiasActBackward {
  const T* gradient;  // of y
  const T* y;
  T* result;  // the gradient of x
  Index count;
  Activation activation;

  ANYWHERE void begin() {}

  ANYWHERE void operator()(Index item) const {
    const Index first = item * V;
    const int here = count - first < V ? int(count - first) : V;
    Pack<T, V> pack = Pack<T, V>::load(gradient + first, here);
    const Pack<T, V> output = Pack<T, V>::load(y + first, here);
    UNROLL
    for (int i = 0; i < V; ++i) {
      if (i < here) pack.value[i] = T(activation.backward(float(pack.value[i]), float(output.value[i])));
    }
    pack.store(result + first, here);
  }
};

bool aligned(const void* a, const void* b, const void* c) {
  return ((uintptr_t(a) | uintptr_t(b) | uintptr_t(c)) % 16) == 0;
}

// Functor is BiasAct or BiasActBackward, without its pointers' types; `make` fills one in.
template <template <typename, typename, int> class Functor, typename T, typename Make>
int for_each_pack(Make make, int64_t count, bool wide, void* stream) {
  constexpr int V = 16 / sizeof(T);  // a thread can read 16 bytes at once
  const bool small = count < INDEX_LIMIT;
  if (wide && small) return for_each<int32_t>(make(Functor<T, int32_t, V>()), (count + V - 1) / V, stream);
  if (wide) return for_each<int64_t>(make(Functor<T, int64_t, V>()), (count + V - 1) / V, stream);
  if (small) return for_each<int32_t>(make(Functor<T, int32_t, 1>()), count, stream);
  return for_each<int64_t>(make(Functor<T, int64_t, 1>()), count, stream);
}

template <typename T>
int bias_act(const void* x, const float* bias, const float* noise, void* y, int64_t images, int64_t channels,
             int64_t pixels, bool noise_per_image, bool channels_last, Activation activation, void* stream) {
  const int64_t count = images * channels * pixels;
  auto make = [=](auto body) {
    using Index = decltype(body.count);
    body.x = static_cast<const T*>(x);
    body.bias = bias;
    body.noise = noise;
    body.y = static_cast<T*>(y);
    body.count = Index(count);
    body.channels = Index(channels);
    body.pixels = Index(pixels);
    body.noise_per_image = noise_per_image;
    body.channels_last = channels_last;
    body.activation = activation;
    return body;
  };
  return for_each_pack<BiasAct, T>(make, count, aligned(x, y, nullptr), stream);
}

template <typename T>
int bias_act_backward(const void* gradient, const void* y, void* result, int64_t count, Activation activation,
                      void* stream) {
  activation.clamp = float(T(activation.clamp));  // rounded as in y
  auto make = [=](auto body) {
    body.gradient = static_cast<const T*>(gradient);
    body.y = static_cast<const T*>(y);
    body.result = static_cast<T*>(result);
    body.count = decltype(body.count)(count);
    body.activation = activation;
    return body;
  };
  return for_each_pack<BiasActBackward, T>(make, count, aligned(gradient, y, result), stream);
}

// ---- upfirdn2d: zeros between the pixels, pad, filter, keep every so many --------------------------------------------

// Filled in by library.py. The arrays are for (images, channels, rows, columns), or for (rows, columns).
struct UpFirDnArguments {
  int64_t x_size[4], x_stride[4], y_size[4], y_stride[4];
  int64_t filter_size[2], up[2], down[2], pad[2];  // pad: zeros before the first row, the first column; may be negative
  int64_t flip;                                    // of the filter, in both directions
  int64_t channels_last;                           // order of the items, so that threads read neighbours in memory
};

// SIZE, UP and DOWN: of a square filter, whose loops are unrolled; SIZE 0: any filter. Item: ROWS outputs in a column,
// which share what they read.
template <typename T, typename Index, int SIZE, int UP, int DOWN, int ROWS>
struct UpFirDn {
  const T* x;
  const float* filter;  // (height, width)
  T* y;
  int channels, row_groups, in_height, in_width, out_height, out_width;
  int any_height, any_width, any_up_y, any_up_x, any_down_y, any_down_x, pad_y, pad_x;
  Index x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, y_column;  // strides
  bool flip, channels_last;
  float taps[SIZE ? SIZE * SIZE : 1];  // the filter, in registers

  ANYWHERE void begin() {
    UNROLL
    for (int i = 0; i < SIZE * SIZE; ++i) taps[i] = filter[flip ? SIZE * SIZE - 1 - i : i];
  }

  ANYWHERE float tap(int row, int column) const {
    if constexpr (SIZE > 0) return taps[row * SIZE + column];
    const int i = row * any_width + column;
    return filter[flip ? any_height * any_width - 1 - i : i];
  }

  // The pixel at a position of the upsampled line, or -1 if there is a zero.
  static ANYWHERE int source(int position, int up, int size) {
    if (position < 0 || position % up != 0) return -1;
    const int pixel = position / up;
    return pixel < size ? pixel : -1;
  }

  ANYWHERE void operator()(Index item) const {
    const int height = SIZE ? SIZE : any_height, width = SIZE ? SIZE : any_width;
    const int up_y = SIZE ? UP : any_up_y, up_x = SIZE ? UP : any_up_x;
    const int down_y = SIZE ? DOWN : any_down_y, down_x = SIZE ? DOWN : any_down_x;

    Index rest = item;
    int channel = 0;
    if (channels_last) channel = int(rest % channels), rest /= channels;
    const int out_column = int(rest % out_width);
    rest /= out_width;
    const int first_row = int(rest % row_groups) * ROWS;
    rest /= row_groups;
    if (!channels_last) channel = int(rest % channels), rest /= channels;
    const Index image = rest;

    // The position of the filter's first tap for the first output, in the upsampled image.
    const int top = first_row * down_y - pad_y, left = out_column * down_x - pad_x;
    const T* plane = x + image * x_image + channel * x_channel;
    float sums[ROWS] = {};
    UNROLL
    for (int i = 0; i < height + (ROWS - 1) * down_y; ++i) {
      const int row = source(top + i, up_y, in_height);
      if (row < 0) continue;
      UNROLL
      for (int j = 0; j < width; ++j) {
        const int column = source(left + j, up_x, in_width);
        const float value = column < 0 ? 0 : float(plane[row * x_row + column * x_column]);
        UNROLL
        for (int r = 0; r < ROWS; ++r) {
          const int tap_row = i - r * down_y;
          if (tap_row >= 0 && tap_row < height) sums[r] += tap(tap_row, j) * value;
        }
      }
    }
    T* outputs = y + image * y_image + channel * y_channel + out_column * y_column;
    UNROLL
    for (int r = 0; r < ROWS; ++r) {
      if (first_row + r < out_height) outputs[(first_row + r) * y_row] = T(sums[r]);
    }
  }
};

template <typename T, typename Index, int SIZE, int UP, int DOWN, int ROWS>
int launch_upfirdn2d(const void* x, const float* filter, void* y, const UpFirDnArguments& a, void* stream) {
  UpFirDn<T, Index, SIZE, UP, DOWN, ROWS> body;
  body.x = static_cast<const T*>(x);
  body.filter = filter;
  body.y = static_cast<T*>(y);
  body.channels = int(a.x_size[1]);
  body.row_groups = int((a.y_size[2] + ROWS - 1) / ROWS);
  body.in_height = int(a.x_size[2]), body.in_width = int(a.x_size[3]);
  body.out_height = int(a.y_size[2]), body.out_width = int(a.y_size[3]);
  body.any_height = int(a.filter_size[0]), body.any_width = int(a.filter_size[1]);
  body.any_up_y = int(a.up[0]), body.any_up_x = int(a.up[1]);
  body.any_down_y = int(a.down[0]), body.any_down_x = int(a.down[1]);
  body.pad_y = int(a.pad[0]), body.pad_x = int(a.pad[1]);
  body.x_image = Index(a.x_stride[0]), body.x_channel = Index(a.x_stride[1]);
  body.x_row = Index(a.x_stride[2]), body.x_column = Index(a.x_stride[3]);
  body.y_image = Index(a.y_stride[0]), body.y_channel = Index(a.y_stride[1]);
  body.y_row = Index(a.y_stride[2]), body.y_column = Index(a.y_stride[3]);
  body.flip = a.flip != 0;
  body.channels_last = a.channels_last != 0;
  return for_each<Index>(body, a.y_size[0] * a.y_size[1] * body.row_groups * a.y_size[3], stream);
}

int64_t furthest(const int64_t* size, const int64_t* stride) {
  int64_t offset = 0;
  for (int i = 0; i < 4; ++i) offset += (size[i] - 1) * stride[i];
  return offset;
}

template <typename T>
int upfirdn2d(const void* x, const float* filter, void* y, const UpFirDnArguments& a, void* stream) {
  bool small = true;
  for (int i = 0; i < 2; ++i) {  // positions along a line are 32 bit
    const int64_t longest = std::max(a.x_size[2 + i] * a.up[i], (a.y_size[2 + i] + 4) * a.down[i]);
    if (longest + std::abs(a.pad[i]) + a.filter_size[i] >= int64_t(1) << 30) return INVALID_VALUE;
  }
  small &= a.y_size[0] * a.y_size[1] * (a.y_size[2] + 3) * a.y_size[3] < INDEX_LIMIT;
  small &= furthest(a.x_size, a.x_stride) < INDEX_LIMIT && furthest(a.y_size, a.y_stride) < INDEX_LIMIT;
  if (!small) return launch_upfirdn2d<T, int64_t, 0, 0, 0, 1>(x, filter, y, a, stream);

  const auto is = [&](int64_t size, int64_t up, int64_t down) {
    return a.filter_size[0] == size && a.filter_size[1] == size && a.up[0] == up && a.up[1] == up &&
           a.down[0] == down && a.down[1] == down;
  };
  // The generators' filter: after a transposed convolution; when upsampling; and in the backward pass of that.
  if (is(4, 1, 1)) return launch_upfirdn2d<T, int32_t, 4, 1, 1, 4>(x, filter, y, a, stream);
  if (is(4, 2, 1)) return launch_upfirdn2d<T, int32_t, 4, 2, 1, 4>(x, filter, y, a, stream);
  if (is(4, 1, 2)) return launch_upfirdn2d<T, int32_t, 4, 1, 2, 4>(x, filter, y, a, stream);
  return launch_upfirdn2d<T, int32_t, 0, 0, 0, 1>(x, filter, y, a, stream);
}

}  // namespace

// ---- the functions that ctypes calls ---------------------------------------------------------------------------------

// Each returns a cudaError_t, 0 for success. dtype: 0 float, 1 half, 2 bfloat16.
extern "C" {

int contraclip_bias_act(int dtype, const void* x, const float* bias, const float* noise, void* y, int64_t images,
                        int64_t channels, int64_t pixels, int noise_per_image, int channels_last, float slope,
                        float gain, float clamp, void* stream) {
  const auto call = dtype == 0 ? bias_act<float> : dtype == 1 ? bias_act<c10::Half> : bias_act<c10::BFloat16>;
  return call(x, bias, noise, y, images, channels, pixels, noise_per_image != 0, channels_last != 0,
              Activation{slope, gain, clamp}, stream);
}

int contraclip_bias_act_backward(int dtype, const void* gradient, const void* y, void* result, int64_t count,
                                 float slope, float gain, float clamp, void* stream) {
  const auto call = dtype == 0   ? bias_act_backward<float>
                    : dtype == 1 ? bias_act_backward<c10::Half>
                                 : bias_act_backward<c10::BFloat16>;
  return call(gradient, y, result, count, Activation{slope, gain, clamp}, stream);
}

int contraclip_upfirdn2d(int dtype, const void* x, const float* filter, void* y, const void* arguments, void* stream) {
  const auto call = dtype == 0 ? upfirdn2d<float> : dtype == 1 ? upfirdn2d<c10::Half> : upfirdn2d<c10::BFloat16>;
  return call(x, filter, y, *static_cast<const UpFirDnArguments*>(arguments), stream);
}

const char* contraclip_error(int code) {
#ifdef __CUDACC__
  return cudaGetErrorString(static_cast<cudaError_t>(code));
#else
  return code == INVALID_VALUE ? "invalid argument" : "unknown error";
#endif
}
}
