"""What the simulator answers when it says no."""


class ApiError(Exception):
    """The control API refuses with an HTTP status and a JSON body (metastudio-protocol section 3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class CommandRefusedError(Exception):
    """A command is refused inside an HTTP 200 (metastudio-protocol section 1.6)."""

    def __init__(self, message: str, code: str = "MSS.00000003") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(Exception):
    """The object store refuses with an XML body (metastudio-protocol section 5.3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
