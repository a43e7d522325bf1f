<?php
require __DIR__ . '/purge.php';

[, $site, $mode] = $argv;
purge($site, getenv('PURGE_SECRET'), array_slice($argv, 3), $mode);
