#!/usr/bin/env bash
# check_number.sh NAME VALUE [LEAST [MOST]]: status 2 unless the value is a whole number from LEAST
# (1) to MOST.
if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || [ "$2" -lt "${3:-1}" ] || [ "$2" -gt "${4:-$2}" ]; then
    echo "error: $1 is a whole number from ${3:-1}${4:+ to $4}, got '$2'" >&2
    exit 2
fi
