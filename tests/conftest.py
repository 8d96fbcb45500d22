"""Strict JAX for every test, on eight virtual CPU devices so that sharding is exercised."""

import gc
import os
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path

# What a script starts with & after it ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before jax is imported: the number of devices is fixed when its backend starts.
# Tests mostly compile: LLVM without optimisation halves that, and changes nothing of what XLA itself does.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# The newer emitters of fusions take several times as long to compile as the older ones. A flag that jaxlib does not
# know ends the process, and later ones have the newer emitters alone.
if version("jaxlib").startswith("0.10."):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"
# What one process that the tests start compiled, the others need not: a directory that ends with the run. The limit of
# size, which is never met, makes JAX lock it.
_OURS = "MUPWD_TESTS_COMPILED"
if _OURS not in os.environ:
    os.environ[_OURS] = str(os.getpid())
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mupwd-compiled-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**32)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"

import jax  # noqa: E402 - it reads the environment
from hypothesis import settings  # noqa: E402

# The same examples in every run, so that a failure belongs to the change that shows it. Others are drawn by
# HYPOTHESIS_PROFILE=explore. No example has a deadline: on a loaded machine it would fail for nothing.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

# This process keeps what it compiles to itself: without a lock and a limit, which cost time with every file, small
# programs are worth keeping too.
_own = tempfile.mkdtemp(prefix="own-", dir=os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_compilation_cache_dir", _own)
jax.config.update("jax_compilation_cache_max_size", -1)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_addoption(parser):
    parser.addoption(
        "--errors",
        type=os.path.abspath,
        metavar="FILE",
        help="append to FILE what mupwd says in errors, for docs/errors.md",
    )


def pytest_configure(config):
    if config.getoption("--errors"):
        from helpers.messages import Recorder

        config.pluginmanager.register(Recorder(Path(config.getoption("--errors"))))


def pytest_collection_finish():
    # Modules and tests stay until the end, and tracing makes many objects that die at once: full collections would
    # walk the former again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_unconfigure():
    if os.environ[_OURS] == str(os.getpid()):
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
