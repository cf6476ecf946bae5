#!/bin/sh
# Starts the Redis of deploy/compose.yaml: what producers were told is kept, is kept; nothing is dropped when memory is short. The password comes
# from a file, on standard input, so that no process list shows it.
set -eu
exec redis-server - <<CONFIGURATION
bind 0.0.0.0
dir /data
appendonly yes
appendfsync everysec
maxmemory 512mb
maxmemory-policy noeviction
requirepass $(cat "${REDIS_PASSWORD_FILE:-/run/secrets/redis_server_password}")
CONFIGURATION
