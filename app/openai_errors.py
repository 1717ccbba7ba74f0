"""Errors in the form in which OpenAI's API gives them."""

from __future__ import annotations

from starlette.responses import JSONResponse


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: one sentence: what is wrong, and what to do.
        param: the request's field that it is about.
        code: a word for programs.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, object]:
        """The JSON that says it."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> JSONResponse:
        """The reply that says it."""
        headers = {"Retry-After": "10"} if self.status == 429 else None
        return JSONResponse(self.body(), self.status, headers)


def error_response(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> JSONResponse:
    """See `ApiError`."""
    return ApiError(status, message, param, code).response()
