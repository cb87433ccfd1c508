#!/usr/bin/env bash
# Compiles the CUDA backend with warnings as errors into build/cuda: with the machine's nvcc, or
# with the one from PyPI in .venv; then looks for floating-point instructions in the machine code. No GPU
# is needed. Arguments go to cmake.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  python -m pip install -q 'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-runtime==13.0.*' \
    'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-cccl==13.0.*'
  toolkit=$(python - <<'EOF'
import importlib.util
from pathlib import Path

print(Path(next(iter(importlib.util.find_spec("nvidia").submodule_search_locations))) / "cu13")
EOF
)
  # The layout that compilers expect: lib64, and the runtime without its version.
  [ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
  [ -e "$toolkit/lib/libcudart.so" ] || ln -s libcudart.so.13 "$toolkit/lib/libcudart.so"
  export CUDACXX="$toolkit/bin/nvcc" CUDAToolkit_ROOT="$toolkit"
elif ! command -v nvcc >/dev/null; then
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi

cmake --preset cuda "$@"
cmake --build --preset cuda

# The machine code, where its readers can be had.
if ! command -v cuobjdump >/dev/null || ! command -v nvdisasm >/dev/null; then
  if python -m pip install -q nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm; then
    PATH="$(python -c 'import nvidia; print(*(p + "/cu13/bin" for p in nvidia.__path__), sep=":")'):$PATH"
  fi
fi
if command -v cuobjdump >/dev/null && command -v nvdisasm >/dev/null; then
  python scripts/machine_code.py build/cuda/libgvm.so
else
  echo "cuda: cuobjdump or nvdisasm is not here: machine code not read"
fi
