#!/usr/bin/env bash
# Installs the browser that the tests of the web pages drive: Chromium of Debian or Ubuntu.
set -euo pipefail

if command -v chromium >/dev/null; then
  exit 0
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
