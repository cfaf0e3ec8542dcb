from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces.collect import collect_answers, read_prompts, trace_of_answers
from moeplace.traces.importers.options import ImportOptions

LAYERS, TOP_K = 3, 2


def ids_of(prompt):
    """Return what the server claims to have routed: 0 in layer 0, which is dense."""
    tokens = len(prompt) + 2
    ids = np.zeros((tokens, LAYERS, TOP_K), dtype=np.uint8)
    for layer in (1, 2):
        ids[:, layer, 0] = (np.arange(tokens) + layer) % 4
        ids[:, layer, 1] = ids[:, layer, 0] + 4
    return ids


class Server(BaseHTTPRequestHandler):
    """Answers as vLLM (/v1/completions) and SGLang (/generate) do."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/completions" and body.get("return_routed_experts"):
            ids = ids_of(body["prompt"])
            stream = io.BytesIO()
            np.save(stream, ids)
            text = base64.b64encode(stream.getvalue()).decode()
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 2}
            answer = {"choices": [{"text": "x", "routed_experts": text}], "usage": usage}
        elif self.path == "/generate":
            raw = ids_of(body["text"]).astype("<i4").tobytes()
            meta = {"routed_experts": base64.b64encode(raw).decode()}
            answer = {"text": "x", "meta_info": meta | {"prompt_tokens": len(body["text"])}}
        else:
            self.send_error(404, "no such model")
            return
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        """Keep quiet."""


@pytest.fixture
def server():
    """Return the address of a server on this machine."""
    made = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["/v1/completions", "/generate"])
def test_answers_become_a_trace(server, path, tmp_path):
    """Each prompt is a request; the dense layer is left out; prompt and answer are told apart."""
    options = ImportOptions(num_experts=8, top_k=TOP_K, num_layers=LAYERS, moe_layers=(1, 2))
    answers = collect_answers(server + path, ["hello", "ab"], keep=tmp_path / "kept.jsonl")
    trace = trace_of_answers(answers, options, name="mine")
    expected = np.concatenate([ids_of("hello"), ids_of("ab")])[:, 1:]
    np.testing.assert_array_equal(trace.expert_ids, expected)
    assert trace.layer_ids == (1, 2)
    assert trace.request.tolist() == [0] * 7 + [1] * 4
    assert trace.phase.tolist() == [0] * 5 + [1] * 2 + [0] * 2 + [1] * 2
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 2


def test_servers_that_do_not_help(server, tmp_path):
    """A wrong path, no server and an answer without experts are one line of error."""
    with pytest.raises(InputError, match="answered 404"):
        collect_answers(server + "/v2", ["a"])
    with pytest.raises(InputError, match="no answer"):
        collect_answers("http://127.0.0.1:9/v1", ["a"], timeout_s=2)
    with pytest.raises(UsageError, match="http address"):
        collect_answers("file:///etc/passwd", ["a"])
    with pytest.raises(InputError, match="was the server started with it enabled"):
        trace_of_answers([{"choices": [{"text": "x"}]}], ImportOptions(num_experts=8))
    with pytest.raises(InputError, match="say the model"):
        trace_of_answers(collect_answers(server + "/generate", ["a"]), ImportOptions())


def test_prompts(tmp_path):
    """A line is a prompt; a JSON object is sent as it is."""
    path = tmp_path / "p.txt"
    path.write_text('one\n\n{"prompt": "two", "max_tokens": 3}\n{broken\n')
    assert read_prompts(path) == ["one", {"prompt": "two", "max_tokens": 3}, "{broken"]
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no prompt"):
        read_prompts(path)
