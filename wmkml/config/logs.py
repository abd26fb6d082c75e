"""How the services write their logs: as lines of text, or of JSON for programs that collect logs."""

from __future__ import annotations

import json
import logging
import time

from wmkml.config.sections.general import General

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `at` (UTC), `level`, `logger`, `service`, `message`, and `error` with a traceback."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "at": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(general: General, service: str) -> None:
    """Have this process log to standard error, at the level and in the form of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(service) if general.log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=general.logging, handlers=[handler])
