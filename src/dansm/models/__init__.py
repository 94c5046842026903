"""Networks and autoencoders, by preset, all from diffusers."""

import importlib
import importlib.util
import os
import sys

# diffusers looks for GPUs when it is imported. By the driver, that would settle which ones the
# process sees, before its job has chosen (`dansm.workflow.devices`); by NVML it does not.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def _postpone(package: str) -> None:
    """Have a package's own module run when something is asked of it, not with a submodule of it.

    Each of these imports all networks of its kind, and with them transformers: half of the time
    that it takes to import the one that is used.
    """
    spec = importlib.util.find_spec(package)
    if package in sys.modules or spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)

    def load(name: str) -> object:
        if "__getattr__" in vars(module):
            del module.__getattr__
            spec.loader.exec_module(module)
            return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    module.__getattr__ = load
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    setattr(sys.modules[parent], child, module)


def _import_without(hidden: str, module: str) -> None:
    """Import a module of diffusers that asks for a package but does without it, too."""
    if module in sys.modules or hidden in sys.modules:
        return
    sys.modules[hidden] = None
    try:
        importlib.import_module(module)
    finally:
        del sys.modules[hidden]


# All that diffusers wants of the compiler, which takes as long to import as torch itself, is to
# mark what it need not look into; and of transformers here, a class of its quantized pipelines.
_import_without("torch._dynamo", "diffusers.utils.torch_utils")
_import_without("transformers", "diffusers.quantizers.pipe_quant_config")
for _kind in ("transformers", "unets", "autoencoders"):
    _postpone(f"diffusers.models.{_kind}")
