"""A real Chromium without a window, driven over the DevTools protocol with the standard library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
PATIENCE_S = 30.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


class Browser:
    """One page in its own browser; `with` ends the process."""

    def __init__(self, folder: Path, *, width: int = 1280, dark: bool = False) -> None:
        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = self._port(folder / "profile" / "DevToolsActivePort")
            self._socket = self._connect(port)
        except BaseException:
            self._process.terminate()
            raise
        self._number, self.events = 0, list[dict[str, Any]]()
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # nothing moves under a click
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def open(self, page: Path) -> None:
        """Open a file and wait until its script has drawn everything."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self.js(condition):
                return
            time.sleep(0.05)
        raise TimeoutError(f"{condition}; the page says {self.complaints()}")

    def js(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and let go of a key, as a keyboard would."""
        codes = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        about: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        if key == "Enter":
            about["text"] = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """Click in the middle of an element with the mouse."""
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, selector: str) -> bytes:
        """Return an element as PNG."""
        x, y, width, height = self.js(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect();"
            "return [r.x + scrollX, r.y + scrollY, r.width, r.height]; })()"
        )
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        answer = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        return base64.b64decode(answer["data"])

    def complaints(self) -> list[str]:
        """Return exceptions, warnings and errors of the page, and requests that it made."""
        self.js("1")  # everything before has been told then
        found = []
        for event in self.events:
            name, about = event["method"], event["params"]
            kind = about.get("type")
            if name in ("Runtime.exceptionThrown", "Log.entryAdded") or (
                name == "Runtime.consoleAPICalled" and kind in ("error", "warning", "assert")
            ):
                found.append(json.dumps(about)[:500])
            if name == "Network.requestWillBeSent":
                url = str(about["request"]["url"])
                if not url.startswith(("file:", "about:", "blob:", "data:")):
                    found.append(f"request {url}")
        return found

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def _port(self, file: Path) -> int:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if file.exists() and "\n" in (text := file.read_text()):
                return int(text.split()[0])
            time.sleep(0.05)
        raise TimeoutError("the browser did not start")

    def _connect(self, port: int) -> socket.socket:
        until = time.monotonic() + PATIENCE_S
        pages: list[dict[str, Any]] = []
        while not pages and time.monotonic() < until:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
        path = pages[0]["webSocketDebuggerUrl"].split(str(port), 1)[1]
        joined = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        key = base64.b64encode(os.urandom(16)).decode()
        joined.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += joined.recv(1)
        assert b" 101 " in head
        return joined

    def _send(self, text: str) -> None:
        data, mask = text.encode(), os.urandom(4)
        length = len(data)
        if length < 126:
            head = bytes([0x81, 0x80 | length])
        elif length < 1 << 16:
            head = bytes([0x81, 0x80 | 126]) + struct.pack(">H", length)
        else:
            head = bytes([0x81, 0x80 | 127]) + struct.pack(">Q", length)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._socket.sendall(head + mask + masked)

    def _receive(self) -> dict[str, Any]:
        data = b""
        while True:
            first, second = self._exactly(2)
            length = second & 127
            if length == 126:
                length = struct.unpack(">H", self._exactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self._exactly(8))[0]
            data += self._exactly(length)
            if first & 0x80:
                message: dict[str, Any] = json.loads(data)
                return message

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the browser went away")
            data += part
        return data
