"""Makes build/plugin.wasm of app.py, with the interpreter CPython in it."""

import subprocess
import sys
from pathlib import Path

program = Path(sys.executable).with_name("componentize-py")
# "record-filter" for a filter that uses its state.
world = ["--wit-path", "wit", "--world", "stateless-record-filter"]
component = ["--stub-wasi", "app", "--output", "build/plugin.wasm"]
sys.exit(subprocess.call([program, "--quiet", *world, "componentize", *component]))
