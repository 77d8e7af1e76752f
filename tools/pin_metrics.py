"""Writes src/evokd/evaluate/neural_requirements.txt, the packages that neural metrics run on.

    # torchmetrics 0.10 needs pkg_resources, and later sentencepiece a later protobuf
    printf 'unbabel-comet==2.2.7\nsetuptools<81\nsentencepiece<0.2.1\n' > in.txt
    uv pip compile --universal --python-version 3.10 --format pylock.toml in.txt -o pylock.toml
    python tools/pin_metrics.py pylock.toml > src/evokd/evaluate/neural_requirements.txt

Hashes are those of wheels for Linux and macOS and Python 3.10 to 3.12, which is what numpy 1 has
wheels for. torch, whose build depends on the machine, stays out, with what it alone brings.
"""

import re
import sys

import tomllib

OF_TORCH = re.compile(
    r"torch|triton|nvidia-.*|cuda-.*|mpmath|sympy|networkx|filelock|jinja2|markupsafe"
)
FITS = re.compile(
    r"-(py2\.py3|py3|cp3\d+)-(none|abi3|cp31[012])-(any|manylinux\S*_(x86_64|aarch64)|macosx\S*_(arm64|universal2))\.whl$"
)
TOO_NEW = re.compile(r"-cp31[3-9]-")

with open(sys.argv[1], "rb") as file:
    packages = tomllib.load(file)["packages"]
for package in packages:
    if OF_TORCH.fullmatch(package["name"]):
        continue
    files = [
        one
        for one in package.get("wheels", [])
        if FITS.search(one["url"]) and not TOO_NEW.search(one["url"])
    ]
    hashes = " ".join(
        f"--hash=sha256:{one['hashes']['sha256']}" for one in files or [package["sdist"]]
    )
    marker = package.get("marker", "").replace("python_full_version >= '3.10'", "").strip()
    print(f"{package['name']}=={package['version']}{f' ; {marker}' if marker else ''} {hashes}")
