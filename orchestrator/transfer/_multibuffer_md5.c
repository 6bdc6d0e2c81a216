/* MD5 (RFC 1321) of several streams in lock-step: each stream is one lane of a vector register.
 *
 * A step of MD5 waits for the one before it, so one stream leaves most of a core idle, and nothing can be
 * done about it within the stream. Segments are streams of their own, though, and up to LANES of them advance
 * together in nearly the time of one. Vectors are those of GCC and clang, without intrinsics: the same source
 * serves SSE2, AVX2 and NEON. Where this file does not compile the package goes on with hashlib.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__)
#error "needs the vector extensions of GCC or clang"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "MD5 reads little-endian words, and this file copies them as they lie in memory"
#endif

enum { BLOCK = 64, LENGTH_AT = 56, FEW = 4, MANY = 8 };

typedef uint32_t Word;
typedef Word Four __attribute__((vector_size(4 * FEW)));
typedef Word Eight __attribute__((vector_size(4 * MANY)));

#if defined(__clang__)
#define SHUFFLE(type, x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(type, x, y, ...) __builtin_shuffle(x, y, (type){__VA_ARGS__})
#endif

/* RFC 1321, section 3.4. G is written as a sum of halves that share no bit, so that the one without the newest
 * word is ready early; for the same reason a step adds its function's value last. */
#define F(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define G(b, c, d) (((c) & ~(d)) + ((b) & (d)))
#define H(b, c, d) ((b) ^ (c) ^ (d))
#define I(b, c, d) ((c) ^ ((b) | ~(d)))

#define STEP(f, a, b, c, d, word, constant, shift) \
    a += (word) + (constant); \
    a += f(b, c, d); \
    a = ((a << (shift)) | (a >> (32 - (shift)))) + b;

#define FOUR_STEPS(f, s0, s1, s2, s3, i0, i1, i2, i3, k0, k1, k2, k3) \
    STEP(f, a, b, c, d, w[i0], k0, s0) \
    STEP(f, d, a, b, c, w[i1], k1, s1) \
    STEP(f, c, d, a, b, w[i2], k2, s2) \
    STEP(f, b, c, d, a, w[i3], k3, s3)

#define ROUND_1(...) FOUR_STEPS(F, 7, 12, 17, 22, __VA_ARGS__)
#define ROUND_2(...) FOUR_STEPS(G, 5, 9, 14, 20, __VA_ARGS__)
#define ROUND_3(...) FOUR_STEPS(H, 4, 11, 16, 23, __VA_ARGS__)
#define ROUND_4(...) FOUR_STEPS(I, 6, 10, 15, 21, __VA_ARGS__)

/* One block: adds to the four sums in `state` what the sixteen words `w` make of them. TYPE is a word or a vector. */
#define COMPRESS(TYPE, state, w) \
    do { \
        TYPE a = (state)[0], b = (state)[1], c = (state)[2], d = (state)[3]; \
        ROUND_1(0, 1, 2, 3, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee) \
        ROUND_1(4, 5, 6, 7, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501) \
        ROUND_1(8, 9, 10, 11, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be) \
        ROUND_1(12, 13, 14, 15, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821) \
        ROUND_2(1, 6, 11, 0, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa) \
        ROUND_2(5, 10, 15, 4, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8) \
        ROUND_2(9, 14, 3, 8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed) \
        ROUND_2(13, 2, 7, 12, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a) \
        ROUND_3(5, 8, 11, 14, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c) \
        ROUND_3(1, 4, 7, 10, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70) \
        ROUND_3(13, 0, 3, 6, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05) \
        ROUND_3(9, 12, 15, 2, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665) \
        ROUND_4(0, 7, 14, 5, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039) \
        ROUND_4(12, 3, 10, 1, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1) \
        ROUND_4(8, 15, 6, 13, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1) \
        ROUND_4(4, 11, 2, 9, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391) \
        (state)[0] += a; \
        (state)[1] += b; \
        (state)[2] += c; \
        (state)[3] += d; \
    } while (0)

/* ---- digests and their lanes ---- */

typedef struct {
    PyObject_HEAD
    Word state[4];
    uint64_t length;     /* the bytes taken so far */
    uint8_t tail[BLOCK]; /* the last length % BLOCK of them, which do not fill a block */
    int is_busy;         /* a thread works on it without holding the interpreter's lock */
} Digest;

typedef struct {
    Digest *digest;
    Py_buffer piece;
    const uint8_t *next;
    size_t left;
} Lane;

static void compress_one(Word state[4], const uint8_t *data, size_t blocks)
{
    for (; blocks; blocks--, data += BLOCK) {
        Word w[16];
        memcpy(w, data, BLOCK);
        COMPRESS(Word, state, w);
    }
}

/* Words of a block in each lane, as they lie in memory, turned into lanes of each word. */

static inline __attribute__((always_inline)) void transpose_four(Four w[4], const uint8_t *const rows[FEW], size_t at)
{
    Four r[FEW];
    for (int lane = 0; lane < FEW; lane++)
        memcpy(&r[lane], rows[lane] + at, sizeof r[lane]);
    Four low01 = SHUFFLE(Four, r[0], r[1], 0, 4, 1, 5), high01 = SHUFFLE(Four, r[0], r[1], 2, 6, 3, 7);
    Four low23 = SHUFFLE(Four, r[2], r[3], 0, 4, 1, 5), high23 = SHUFFLE(Four, r[2], r[3], 2, 6, 3, 7);
    w[0] = SHUFFLE(Four, low01, low23, 0, 1, 4, 5);
    w[1] = SHUFFLE(Four, low01, low23, 2, 3, 6, 7);
    w[2] = SHUFFLE(Four, high01, high23, 0, 1, 4, 5);
    w[3] = SHUFFLE(Four, high01, high23, 2, 3, 6, 7);
}

static void compress_four(Lane *const lanes[FEW], size_t blocks)
{
    const uint8_t *rows[FEW];
    Four state[4] = {{0}};
    for (int lane = 0; lane < FEW; lane++) {
        rows[lane] = lanes[lane]->next;
        for (int i = 0; i < 4; i++)
            state[i][lane] = lanes[lane]->digest->state[i];
    }
    for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
        Four w[16];
        for (int quarter = 0; quarter < 4; quarter++)
            transpose_four(&w[4 * quarter], rows, at + 16 * quarter);
        COMPRESS(Four, state, w);
    }
    for (int lane = 0; lane < FEW; lane++)
        for (int i = 0; i < 4; i++)
            lanes[lane]->digest->state[i] = state[i][lane];
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

static inline __attribute__((always_inline)) AVX2 void transpose_eight(Eight w[8], const uint8_t *const rows[MANY],
                                                                       size_t at)
{
    Eight r[MANY], pairs[MANY], fours[MANY];
    for (int lane = 0; lane < MANY; lane++)
        memcpy(&r[lane], rows[lane] + at, sizeof r[lane]);
    for (int i = 0; i < MANY; i += 2) {
        pairs[i] = SHUFFLE(Eight, r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[i + 1] = SHUFFLE(Eight, r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < MANY; i += 4)
        for (int half = 0; half < 2; half++) {
            Eight low = pairs[i + half], high = pairs[i + half + 2];
            fours[i + 2 * half] = SHUFFLE(Eight, low, high, 0, 1, 8, 9, 4, 5, 12, 13);
            fours[i + 2 * half + 1] = SHUFFLE(Eight, low, high, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < FEW; i++) {
        w[i] = SHUFFLE(Eight, fours[i], fours[i + FEW], 0, 1, 2, 3, 8, 9, 10, 11);
        w[i + FEW] = SHUFFLE(Eight, fours[i], fours[i + FEW], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

static AVX2 void compress_eight(Lane *const lanes[MANY], size_t blocks)
{
    const uint8_t *rows[MANY];
    Eight state[4] = {{0}};
    for (int lane = 0; lane < MANY; lane++) {
        rows[lane] = lanes[lane]->next;
        for (int i = 0; i < 4; i++)
            state[i][lane] = lanes[lane]->digest->state[i];
    }
    for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
        Eight w[16];
        transpose_eight(&w[0], rows, at);
        transpose_eight(&w[8], rows, at + 32);
        COMPRESS(Eight, state, w);
    }
    for (int lane = 0; lane < MANY; lane++)
        for (int i = 0; i < 4; i++)
            lanes[lane]->digest->state[i] = state[i][lane];
}

static int lane_count(void) { return __builtin_cpu_supports("avx2") ? MANY : FEW; }

#else

static void compress_eight(Lane *const lanes[MANY], size_t blocks)
{
    compress_four(lanes, blocks);
    compress_four(lanes + FEW, blocks);
}

static int lane_count(void) { return FEW; }

#endif

/* Takes `blocks` blocks of each of `count` lanes. A vector's idle lanes repeat the first one, to the same result. */
static void compress(Lane *lanes[MANY], int count, size_t blocks)
{
    if (count == 1) {
        compress_one(lanes[0]->digest->state, lanes[0]->next, blocks);
        return;
    }
    for (int idle = count; idle < MANY; idle++)
        lanes[idle] = lanes[0];
    if (count <= FEW)
        compress_four(lanes, blocks);
    else
        compress_eight(lanes, blocks);
}

static void fill_tail(Lane *lane)
{
    size_t used = lane->digest->length % BLOCK, room = BLOCK - used;
    size_t taken = lane->left < room ? lane->left : room;
    if (!used)
        return;
    memcpy(lane->digest->tail + used, lane->next, taken);
    if (taken == room)
        compress_one(lane->digest->state, lane->digest->tail, 1);
    lane->digest->length += taken;
    lane->next += taken;
    lane->left -= taken;
}

/* Takes whole blocks of all lanes that have any; false when none has. */
static int advance(Lane lanes[], int count)
{
    Lane *active[MANY];
    size_t blocks = SIZE_MAX;
    int found = 0;
    for (int i = 0; i < count; i++)
        if (lanes[i].left >= BLOCK) {
            active[found++] = &lanes[i];
            if (lanes[i].left / BLOCK < blocks)
                blocks = lanes[i].left / BLOCK;
        }
    if (!found)
        return 0;
    compress(active, found, blocks);
    for (int i = 0; i < found; i++) {
        active[i]->digest->length += blocks * BLOCK;
        active[i]->next += blocks * BLOCK;
        active[i]->left -= blocks * BLOCK;
    }
    return 1;
}

static void take_all(Lane lanes[], int count)
{
    for (int i = 0; i < count; i++)
        fill_tail(&lanes[i]);
    while (advance(lanes, count))
        ;
    for (int i = 0; i < count; i++) {
        if (!lanes[i].left)
            continue;
        memcpy(lanes[i].digest->tail, lanes[i].next, lanes[i].left);
        lanes[i].digest->length += lanes[i].left;
    }
}

/* ---- what Python sees ---- */

static PyObject *digest_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static const Word start[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, ":Digest", names))
        return NULL;
    Digest *self = (Digest *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self)
        memcpy(self->state, start, sizeof start);
    return (PyObject *)self;
}

static void digest_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *digest_hexdigest(PyObject *object, PyObject *Py_UNUSED(nothing))
{
    static const char digits[] = "0123456789abcdef";
    Digest *self = (Digest *)object;
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "the digest is being updated in another thread");
        return NULL;
    }
    Word state[4];
    uint8_t padded[2 * BLOCK] = {0}, sum[16];
    char text[32];
    size_t used = self->length % BLOCK, blocks = used < LENGTH_AT ? 1 : 2;
    uint64_t bits = self->length * 8;
    memcpy(state, self->state, sizeof state);
    memcpy(padded, self->tail, used);
    padded[used] = 0x80;
    memcpy(padded + (blocks - 1) * BLOCK + LENGTH_AT, &bits, sizeof bits);
    compress_one(state, padded, blocks);
    memcpy(sum, state, sizeof sum);
    for (int i = 0; i < 16; i++) {
        text[2 * i] = digits[sum[i] >> 4];
        text[2 * i + 1] = digits[sum[i] & 15];
    }
    return PyUnicode_FromStringAndSize(text, sizeof text);
}

static PyMethodDef digest_methods[] = {
    {"hexdigest", digest_hexdigest, METH_NOARGS, "The MD5 of all that was taken so far, in hexadecimal digits."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot digest_slots[] = {
    {Py_tp_doc, "An MD5 that grows; `update_all` feeds it."},
    {Py_tp_new, digest_new},
    {Py_tp_dealloc, digest_dealloc},
    {Py_tp_methods, digest_methods},
    {0, NULL},
};

static PyType_Spec digest_spec = {
    .name = "orchestrator.transfer._multibuffer_md5.Digest",
    .basicsize = sizeof(Digest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = digest_slots,
};

/* Makes a lane of the pair at `index`; the lane then holds a reference to both. */
static int open_lane(Lane *lane, PyTypeObject *type, PyObject *digests, PyObject *pieces, Py_ssize_t index)
{
    PyObject *digest = PySequence_GetItem(digests, index), *piece = PySequence_GetItem(pieces, index);
    int is_open = 0;
    if (!digest || !piece)
        goto done;
    if (Py_TYPE(digest) != type) {
        PyErr_SetString(PyExc_TypeError, "update_all takes digests of this module");
        goto done;
    }
    if (((Digest *)digest)->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "a digest takes one piece at a time");
        goto done;
    }
    if (PyObject_GetBuffer(piece, &lane->piece, PyBUF_SIMPLE) < 0)
        goto done;
    lane->digest = (Digest *)Py_NewRef(digest);
    lane->digest->is_busy = 1;
    lane->next = lane->piece.buf;
    lane->left = (size_t)lane->piece.len;
    is_open = 1;
done:
    Py_XDECREF(digest);
    Py_XDECREF(piece);
    return is_open;
}

static void close_lane(Lane *lane)
{
    lane->digest->is_busy = 0;
    PyBuffer_Release(&lane->piece);
    Py_DECREF((PyObject *)lane->digest);
}

static PyObject *update_all(PyObject *module, PyObject *arguments)
{
    PyObject *digests, *pieces;
    if (!PyArg_ParseTuple(arguments, "OO:update_all", &digests, &pieces))
        return NULL;
    Py_ssize_t count = PySequence_Size(digests), piece_count = PySequence_Size(pieces);
    if (count < 0 || piece_count < 0)
        return NULL;
    if (count != piece_count || count > lane_count())
        return PyErr_Format(PyExc_ValueError, "update_all takes a piece for each of at most %d digests", lane_count());

    Lane lanes[MANY];
    int opened = 0;
    PyTypeObject *type = *(PyTypeObject **)PyModule_GetState(module);
    while (opened < count && open_lane(&lanes[opened], type, digests, pieces, opened))
        opened++;
    int is_complete = opened == count;
    if (is_complete) {
        Py_BEGIN_ALLOW_THREADS
        take_all(lanes, opened);
        Py_END_ALLOW_THREADS
    }
    while (opened)
        close_lane(&lanes[--opened]);
    if (!is_complete)
        return NULL;
    Py_RETURN_NONE;
}

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &digest_spec, NULL);
    if (!type)
        return -1;
    *(PyObject **)PyModule_GetState(module) = type;
    if (PyModule_AddObjectRef(module, "Digest", type) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "LANES", lane_count());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(*(PyObject **)PyModule_GetState(module));
    return 0;
}

static int module_clear(PyObject *module)
{
    Py_CLEAR(*(PyObject **)PyModule_GetState(module));
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyMethodDef module_functions[] = {
    {"update_all", update_all, METH_VARARGS, "Let each digest take its piece, all of them in lock-step."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_multibuffer_md5",
    .m_doc = "MD5 of up to LANES streams in lock-step.",
    .m_size = sizeof(PyObject *),
    .m_methods = module_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__multibuffer_md5(void) { return PyModuleDef_Init(&module_definition); }
