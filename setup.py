"""What pyproject.toml has no word for: the compiled part of the package, and the pages of docs/ that come with it."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class WithPages(build_py):
    """Puts the pages into the package, so that `orchestrator docs` finds them wherever it is installed."""

    def run(self) -> None:
        """Copy the package, then the pages; a checkout that is installed in place has them beside it."""
        super().run()
        if self.editable_mode:
            return
        for page in sorted(Path("docs").rglob("*.md")):
            target = Path(self.build_lib, "orchestrator", page)
            self.mkpath(str(target.parent))
            self.copy_file(str(page), str(target))


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
    cmdclass={"build_py": WithPages},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
