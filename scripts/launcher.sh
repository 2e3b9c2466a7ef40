#!/bin/sh
# `make build` copies this to target/release/{master,worker,client} (`make build-debug` to
# target/debug); what a copy runs follows from its name.
: "${MINISPARK_STATE_DIR:=/tmp/minispark/state}"
export MINISPARK_STATE_DIR
case $0 in
*/debug/*)
  # Tracebacks of errors, and of the interpreter when it crashes.
  MINISPARK_DEBUG=1 PYTHONFAULTHANDLER=1
  export MINISPARK_DEBUG PYTHONFAULTHANDLER
  ;;
esac
name=${0##*/}
[ "$name" = client ] || set -- "$name" "$@"
exec "@BIN@/minispark" "$@"
