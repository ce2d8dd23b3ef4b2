/* A library that answers as NVIDIA's does, for two GPUs that aren't there: GPU 0 works at 87 % and
   250 W and is held back by its power cap, GPU 1 idles at 50 W and has no counter of energy. */
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct { unsigned gpu, memory; } utilisation;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3 };
static int busy(void *device) { return device == (void *)1; }

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "refused"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
  strncpy(text, "550.54.15", length);
  return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index > 1) return INVALID;
  *device = (void *)(uintptr_t)(index + 1);
  return OK;
}
int nvmlDeviceGetUtilizationRates(void *device, utilisation *rates) {
  rates->gpu = busy(device) ? 87 : 0;
  rates->memory = 0;
  return OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory *info) {
  info->total = 80ull << 30;
  info->reserved = 0;
  info->used = busy(device) ? 60ull << 30 : 0;
  info->free = info->total - info->used;
  return OK;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
  *milliwatts = busy(device) ? 250000 : 50000;
  return OK;
}
int nvmlDeviceGetClockInfo(void *device, unsigned type, unsigned *mhz) {
  (void)device;
  *mhz = type == 1 ? 1980 : 2619;
  return OK;
}
int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *celsius) {
  (void)sensor;
  *celsius = busy(device) ? 71 : 30;
  return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
  *reasons = busy(device) ? 4 : 1; /* power cap; idle */
  return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  if (!busy(device)) return NOT_SUPPORTED;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  *millijoules = 250ull * ((unsigned long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
  return OK;
}
