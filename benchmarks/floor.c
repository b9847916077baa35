/* The least that a lock written in C can cost from Python: enter and exit do one atomic exchange each, and nothing else.
 * benchmarks/floor.py compiles it with the headers of the interpreter that runs the benchmarks. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>

typedef struct {
    PyObject_HEAD
    atomic_uint word;
} Floor;

static PyObject *enter(PyObject *self, PyObject *unused)
{
    atomic_exchange(&((Floor *)self)->word, 1);
    Py_RETURN_TRUE;
}

static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    atomic_exchange(&((Floor *)self)->word, 0);
    Py_RETURN_NONE;
}

static PyObject *acquire(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    atomic_exchange(&((Floor *)self)->word, 1);
    Py_RETURN_TRUE;
}

static PyObject *release(PyObject *self, PyObject *unused)
{
    atomic_exchange(&((Floor *)self)->word, 0);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL, NULL},
    {"acquire", (PyCFunction)(void (*)(void))acquire, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"release", release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Lock",
    .tp_basicsize = sizeof(Floor),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_methods = methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1};

PyMODINIT_FUNC PyInit_floor(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddType(made, &type) < 0)
        Py_CLEAR(made);
    return made;
}
