// Kernels whose cost is known by hand (test_known.py). Their machine code for sm_90 lies beside, so
// that the tests need no compiler: nvcc -cubin -arch=sm_90 -o k.cubin kernels.cu; cuobjdump -sass.

// A warp reads and writes 512 neighbouring bytes: 16 sectors, 4 lines.
extern "C" __global__ void copy(const float4* in, float4* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i];
}

// A warp reads 32 sectors, each of another line, of which it needs an eighth.
extern "C" __global__ void strided_copy(const float* in, float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[32 * i];
}

// Each multiply-add waits for the one before.
extern "C" __global__ void multiply_add_chain(float a, float b, int count, float* out) {
  float x = a;
  for (int i = 0; i < count; ++i) x = x * a + b;
  out[blockIdx.x * blockDim.x + threadIdx.x] = x;
}

// Lanes leave the loop at different times; then all threads read what others left in shared memory.
extern "C" __global__ void meeting(const int* counts, float* out) {
  __shared__ float kept[256];
  float sum = 0;
  for (int i = 0; i < counts[threadIdx.x % 32]; ++i) sum += 1.0f / (i + threadIdx.x + 1);
  kept[threadIdx.x] = sum;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}
