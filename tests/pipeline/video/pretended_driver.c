/* What ffmpeg calls of libcuda and libnvcuvid when it decodes by NVDEC, for machines without a GPU.

Memory of the device is memory of the process. A decoder gives grey frames in nv12: the brightness tells which picture of
the stream, in the order of decoding, a frame is of, from 40 on in steps of 2. All other functions, which the test adds,
do nothing. Structures are those of cuda.h and cuviddec.h on 64-bit Linux. */

#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 256; return 0; }
int cuDeviceGetName(char *name, int size, int device) { *name = 0; return 0; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { *context = (void *)1; return 0; }
int cuGetErrorName(int error, const char **name) { *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "an illegal memory access"; return 0; }
int cuMemAlloc_v2(address *place, size_t bytes) { *place = (address)malloc(bytes); return 0; }
int cuMemFree_v2(address place) { free((void *)place); return 0; }

typedef struct {
    size_t x, y;
    int kind; /* 1: of the host */
    char *host;
    address device;
    void *array;
    size_t pitch;
} side;

typedef struct { side from, to; size_t width, height; } copy;

static char *begin(const side *one)
{
    return (one->kind == 1 ? one->host : (char *)one->device) + one->y * one->pitch + one->x;
}

int cuMemcpy2DAsync_v2(const copy *what, void *stream)
{
    for (size_t row = 0; row < what->height; row++)
        memcpy(begin(&what->to) + row * what->to.pitch, begin(&what->from) + row * what->from.pitch, what->width);
    return 0;
}

typedef struct {
    int codec, chroma;
    unsigned bits_above_8, reserved[3];
    unsigned char is_supported, decoders;
    unsigned short formats;
    unsigned most_width, most_height, most_blocks;
    unsigned short least_width, least_height;
} capabilities;

typedef struct {
    unsigned long width, height, surfaces;
    int codec, chroma;
    unsigned long flags, bits_above_8, only_intra, most_width, most_height, reserved;
    short area[4];
    int format, deinterlacing;
    unsigned long given_width, given_height;
} wanted;

typedef struct { size_t pitch, height; int pictures, of_surface[64]; } decoder;

int cuvidGetDecoderCaps(capabilities *of)
{
    of->is_supported = of->decoders = 1;
    of->formats = 3;
    of->most_width = of->most_height = 8192;
    of->most_blocks = 1 << 20;
    of->least_width = of->least_height = 16;
    return 0;
}

int cuvidCreateDecoder(decoder **made, const wanted *how)
{
    *made = calloc(1, sizeof(decoder));
    (*made)->pitch = (how->given_width * 2 + 511) / 512 * 512; /* room for 16 bits */
    (*made)->height = how->given_height;
    return 0;
}

int cuvidDestroyDecoder(decoder *one) { free(one); return 0; }

int cuvidDecodePicture(decoder *one, const int *picture)
{
    const char *fails_at = getenv("PRETENDED_GPU_FAILS_AT");
    if (fails_at && one->pictures == atoi(fails_at))
        return 700;
    one->of_surface[picture[2]] = one->pictures++; /* width, height, and then the index of the surface */
    return 0;
}

int cuvidMapVideoFrame64(decoder *one, int surface, address *place, unsigned *pitch, void *how)
{
    size_t luma = one->pitch * one->height;
    char *frame = malloc(2 * luma);
    memset(frame, 40 + 2 * one->of_surface[surface], luma);
    memset(frame + luma, 128, luma);
    *place = (address)frame;
    *pitch = one->pitch;
    return 0;
}

int cuvidUnmapVideoFrame64(decoder *one, address place) { free((void *)place); return 0; }
