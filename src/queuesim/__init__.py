"""queuesim: a wind tunnel for background job queues.

The same job processor that works a production queue runs unchanged in virtual time. See `Processor`, `run` and `load`.
The names in __init__.pyi are loaded when they are first used, so that to import this package takes no time.
"""

from importlib import import_module

import lazy_loader

from queuesim import results
from queuesim.moved import install

__version__ = "0.1.0"
install()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register_faults() -> None:
    import_module("queuesim.faults.registry")


results.register_faults = _register_faults
results.theory = lambda result: import_module("queuesim.theory").of(result)
