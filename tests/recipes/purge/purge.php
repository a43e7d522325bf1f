<?php
function sign(string $host, string $secret, string $body): string
{
    [$time, $nonce] = [time(), bin2hex(random_bytes(16))];
    $text = implode("\n", ['v2', 'POST', $host, '/__strata/purge', $time, $nonce, $body]);
    return "v=2,t=$time,n=$nonce,s=" . hash_hmac('sha256', $text, $secret);
}

function purge(string $site, string $secret, array $scopes, string $mode = 'remove', $wait = 250): void
{
    $records = array_map(fn($scope) => ['scope' => $scope, 'mode' => $mode], $scopes);
    $body = json_encode(['v' => 1, 'records' => $records]);
    $header = 'Strata-Signature: ' . sign(explode('://', $site)[1], $secret, $body);
    $options = ['timeout' => 10, 'ignore_errors' => true, 'follow_location' => 0];
    $request = ['method' => 'POST', 'header' => $header, 'content' => $body] + $options;
    $answer = @fopen("$site/__strata/purge", 'r', false, stream_context_create(['http' => $request]));
    $status = $answer ? (int) substr(stream_get_meta_data($answer)['wrapper_data'][0], 9, 3) : 503;
    if ($status === 200) return;
    if ($wait > 8000 || ($status < 500 && $status !== 429)) throw new RuntimeException("purge: $status");
    usleep($wait * 1000);
    purge($site, $secret, $scopes, $mode, 2 * $wait);
}
