"""The process in which `onnx_process` has a network computed. It imports nothing of ours.

It is told what it may use and given the file's bytes, then arrays, until its socket is closed.
"""

import json
import re
import resource
import sys
from multiprocessing.connection import Connection

import numpy as np
import onnxruntime

PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")  # of its errors' texts


def limit(memory):
    """Let this process hold `memory` bytes of its own, and write nothing to files, not even when it crashes."""
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def load(content, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Bytes could be read as ONNX, which was checked, and as onnxruntime's own format, which was not.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def serve(connection):
    order = json.loads(connection.recv_bytes())
    limit(order["memory"])
    session = load(connection.recv_bytes(), order["threads"])
    (taken,) = session.get_inputs()
    connection.send_bytes(b'{"shapes": []}')
    while True:
        shape = json.loads(connection.recv_bytes())["shape"]
        array = np.frombuffer(connection.recv_bytes(), dtype=np.float32).reshape(shape)
        outputs = session.run(order["outputs"], {taken.name: array})
        found = [np.ascontiguousarray(output, np.float32) for output in outputs]
        connection.send_bytes(json.dumps({"shapes": [output.shape for output in found]}).encode())
        for output in found:
            connection.send_bytes(output)


def main():
    connection = Connection(int(sys.argv[1]))
    try:
        serve(connection)
    except EOFError:
        pass
    except Exception as error:  # onnxruntime's errors have no narrower type in common
        words = PREFIX.sub("", " ".join(str(error).split()))[:200] or type(error).__name__
        connection.send_bytes(json.dumps({"error": words}).encode())


if __name__ == "__main__":
    main()
