#!/usr/bin/env bash
# check_number.sh NAME VALUE: status 2 unless the value is a whole number from 1.
if ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "error: $1 is a whole number from 1, got '$2'" >&2
    exit 2
fi
