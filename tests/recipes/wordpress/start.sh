#!/bin/sh
# Serves a new WordPress. The user `admin` has the password `password`.
set -e
mkdir -p wordpress/wp-content/mu-plugins
cp wp-config.php router.php wordpress/
cp strata.php ../purge/purge.php wordpress/wp-content/mu-plugins/
cp wordpress/empty.sqlite wordpress/wp-content/database/.ht.sqlite
exec php -S "127.0.0.1:$PORT" -t wordpress wordpress/router.php
