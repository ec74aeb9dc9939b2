"""What the writer of a refresh callback imports (docs/callbacks.md).

    from worker.callbacks import CallbackInput, CallbackOutput, refresh_callback

    @refresh_callback("acme", timeout_s=20)
    def refresh(inputs: CallbackInput) -> CallbackOutput: ...

Importing it reads no setting and opens nothing: a callback and its test run wherever Python does.
"""

from models.callback import CallbackInput, CallbackOutput, ErrorResponse
from worker.callbacks.sandbox.registry import refresh_callback
from worker.callbacks.sandbox.run import CallbackTimeout

__all__ = ["CallbackInput", "CallbackOutput", "CallbackTimeout", "ErrorResponse", "refresh_callback"]
