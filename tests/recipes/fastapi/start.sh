#!/bin/sh
export PYTHONPATH=../purge PYTHONDONTWRITEBYTECODE=1
exec .venv/bin/uvicorn app:app --host 127.0.0.1 --port "$PORT" --proxy-headers --forwarded-allow-ips 127.0.0.1
