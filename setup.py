"""The compiled part of the package; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "orchestrator.transfer._multibuffer_md5",
            ["orchestrator/transfer/_multibuffer_md5.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,  # without a C compiler the package installs all the same and hashes with hashlib
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
