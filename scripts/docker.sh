#!/usr/bin/env bash
# The cluster in containers: docker.sh build | up | down | logs. Sourced by the other docker-*.sh.
# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

secret=.secrets/minispark_token
[[ ${MASTER_PORT:-} != 0 ]] || die "MASTER_PORT=0 takes any port, and the login link needs to name it"
command -v docker >/dev/null || die "there is no docker here"
docker info >/dev/null 2>&1 || die "docker does not answer: is its daemon running, and may you use it?"

# compose ARGUMENT...: the installed Compose, version 2 or 1.
if docker compose version >/dev/null 2>&1; then
  compose() { docker compose "$@"; }
elif command -v docker-compose >/dev/null; then
  compose() { docker-compose "$@"; }
else
  die "there is neither 'docker compose' nor docker-compose"
fi

# The containers' user may read the file; on this machine its directory is closed to others.
make_secret() {
  (
    umask 077
    mkdir -p "$(dirname "$secret")"
    [[ -s $secret ]] || python3 -c 'import secrets; print(secrets.token_urlsafe(32))' >"$secret"
    chmod 444 "$secret"
  )
}

figure() { curl -fsS "$MASTER_URL$1"; }
ask() { curl -fsS -H @- "$MASTER_URL$1" <<<"Authorization: Bearer $(cat "$secret")"; }
both_up() { [[ $(figure /api/v1/metrics/system | value 'd["workers_up"]') -ge 2 ]]; }

# start: starts the containers; says which variable names another port if one is taken.
start() {
  local log service
  log=$(mktemp)
  if ! compose up -d 2>&1 | tee "$log"; then
    service=$(grep -E 'already in use|already allocated' "$log" |
      grep -oE 'endpoint [^ ]*[-_](master|worker1|worker2)[-_]1' | head -n 1 |
      grep -oE '(master|worker1|worker2)[-_]1$' || true)
    rm -f "$log"
    case ${service%[-_]1} in
      master) port_taken MASTER_PORT 8080 ;;
      worker1) port_taken WORKER1_METRICS_PORT 10000 ;;
      worker2) port_taken WORKER2_METRICS_PORT 10001 ;;
    esac
    die "Docker Compose could not start the containers"
  fi
  rm -f "$log"
}

# port_taken VARIABLE DEFAULT
port_taken() {
  die "port ${!1:-$2} of this machine is taken. Name another one, for this and the next commands: export $1=$(free_port)"
}

# page_link: prints a link that logs a browser in, once.
page_link() {
  curl -fsS -H @- -H "Content-Type: application/json" --data '{}' "$MASTER_URL/api/v1/login-links" \
    <<<"Authorization: Bearer $(cat "$secret")" | value 'd["path"]'
}

up() {
  make_secret
  start
  MASTER_URL=http://$(compose port master 8080)
  DEADLINE_S=120 wait_until "two workers are up" both_up
  printf 'master at %s, two workers are up\n' "$MASTER_URL"
  printf 'web page: %s%s  (opens once; another: docker compose exec master minispark ui --print)\n' \
    "$MASTER_URL" "$(page_link)"
}

# client ARGUMENT...: the command line, in a container of its own.
client() { compose run --rm -T demo "$@" 2>/dev/null; }

# status JOB, ended JOB: the state of a job.
status() { ask "/api/v1/jobs/$1" | value 'd["status"]'; }
ended() { [[ $(status "$1") =~ ^(SUCCEEDED|FAILED|CANCELLED)$ ]]; }

# result_right JOB FILE: the job's result equals the counts of plain Python; FILE is in the volume.
result_right() {
  ask "/api/v1/jobs/$1/results?format=csv" |
    compose run --rm -T --entrypoint python demo -c "$(cat scripts/count_words.py)" "$2" 2>/dev/null ||
    die "$1 counted $2 wrong"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1:-} in
    build)
      make_secret
      compose build master
      # What a build leaves untagged: its first stage, and the image that the new one replaces.
      docker image prune --force --filter label=minispark.image >/dev/null
      ;;
    up) up ;;
    down) compose --profile demo down --volumes ;;
    logs) compose logs --follow --tail 100 ;;
    *) die "docker.sh build | up | down | logs" ;;
  esac
fi
