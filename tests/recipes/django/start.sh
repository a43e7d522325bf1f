#!/bin/sh
# Creates the tables and the products, and serves them.
set -e
export PYTHONPATH=../purge PYTHONDONTWRITEBYTECODE=1
.venv/bin/python manage.py migrate --run-syncdb --verbosity 0
.venv/bin/python manage.py loaddata --verbosity 0 products
exec .venv/bin/gunicorn --bind "127.0.0.1:$PORT" --threads 4 --log-level warning shop.wsgi
