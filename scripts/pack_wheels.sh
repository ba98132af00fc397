#!/usr/bin/env bash
# Packs wheels for a machine without a package registry: what `make gpu-check` needs beside PyTorch, Lightning,
# transformers, h5py, einops, scikit-image and matplotlib. On that machine: pip install --no-index --no-deps wheels/*.whl
# Usage: [PYTHON_VERSION=3.12] scripts/pack_wheels.sh [folder] [names ...]; versions are those of requirements.txt.
set -euo pipefail
folder=${1:-wheels}
limit_mib=40
names=("${@:2}")
if [ ${#names[@]} -eq 0 ]; then
    names=(omegaconf msgspec rich markdown-it-py mdurl Pygments pytest iniconfig pluggy)
    names+=(diffusers importlib_metadata zipp requests urllib3 certifi charset-normalizer) # for parity and peers
fi
pip=${PIP:-.venv/bin/pip}
target=(${PYTHON_VERSION:+--python-version "$PYTHON_VERSION"}) # of that machine, where it is not this one's

mkdir -p "$folder"
for name in "${names[@]}"; do
    pinned=$(grep -i "^${name//[-_]/[-_]}==" requirements.txt) || {
        echo "requirements.txt has no $name; give names that it has." >&2
        exit 2
    }
    "$pip" download --disable-pip-version-check --quiet --no-deps --only-binary :all: "${target[@]}" \
        --dest "$folder" "$pinned"
done
size_kib=$(du -sk "$folder" | cut -f1)
if [ "$size_kib" -gt $((limit_mib * 1024)) ]; then
    echo "$folder takes $((size_kib / 1024)) MiB, more than $limit_mib; name fewer packages." >&2
    exit 2
fi
echo "$folder: $(find "$folder" -name '*.whl' | wc -l) wheels, $((size_kib / 1024)) MiB."
