"""What a release holds: the wheel and the source distribution, built as pip does, and what they say of themselves."""

import email
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(wheel):
    """`{name: bytes}` of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name) for name in files.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the wheel of this tree, its source distribution, and under again/ the wheel made of that."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        # The hooks that pip and build call, in the folder of the project.
        patch.chdir(ROOT)
        build.build_wheel(str(folder))
        with tarfile.open(folder / build.build_sdist(str(folder))) as source:
            source.extractall(folder, filter="data")
        patch.chdir(folder / f"mupwd-{PROJECT['version']}")
        build.build_wheel(str(folder / "again"))
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    return read(next(built.glob("*.whl")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    about = f"mupwd-{PROJECT['version']}.dist-info/"
    package = {name for name in wheel if not name.startswith(about)}
    files = {path for path in (ROOT / "mupwd").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert package == {path.relative_to(ROOT).as_posix() for path in files} | {"mupwd_command.py"}
    assert {Path(name).suffix for name in package} == {".py", ".typed", ".js", ".css", ".html", ".txt"}
    assert {
        "mupwd/py.typed",
        "mupwd/report/static/page.html",
        "mupwd/report/static/plotly-cartesian.min.js",
    } <= package


def test_the_source_distribution_makes_the_same_wheel(built, wheel):
    again = read(next((built / "again").glob("*.whl")))
    # scripts/release/distributions.py compares every byte, in a clone, which nobody edits meanwhile.
    assert again.keys() == wheel.keys()
    assert next(again[name] for name in again if name.endswith("/METADATA")) == next(
        wheel[name] for name in wheel if name.endswith("/METADATA")
    )


def test_the_source_distribution_has_what_tests_and_packagers_need(built):
    there = {path.name for path in (built / f"mupwd-{PROJECT['version']}").iterdir()}
    assert there >= {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml"}
    assert there >= {"mupwd", "tests", "docs", "examples", "scripts", "benchmarks"}
    assert not there & {".git", ".ci", ".github", ".venv", "build", "dist", "runs"}


def test_the_metadata(wheel):
    about = f"mupwd-{PROJECT['version']}.dist-info/"
    says = email.message_from_bytes(wheel[f"{about}METADATA"])
    assert says["Requires-Python"] == ">=3.11"
    assert says["License-Expression"] == "Apache-2.0 AND MIT"
    licences = says.get_all("License-File")
    assert licences == ["LICENSE", "mupwd/report/static/plotly-LICENSE.txt"]
    assert all(f"{about}licenses/{name}" in wheel for name in licences)
    assert set(says.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert b"mupwd = mupwd_command:main" in wheel[f"{about}entry_points.txt"]
    assert b"Root-Is-Purelib: true" in wheel[f"{about}WHEEL"]
    assert says.get_payload(decode=True).decode().startswith("# mupwd")


def test_one_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {PROJECT['version']} (" in changelog
    assert f"\nversion: {PROJECT['version']}\n" in citation
