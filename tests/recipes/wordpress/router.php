<?php
// Serves files as they are, and everything else by WordPress.
$path = __DIR__ . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (is_file($path) || is_file("$path/index.php")) return false;
require __DIR__ . '/index.php';
