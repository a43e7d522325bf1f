<?php
/* Plugin Name: Edge cache */
require_once __DIR__ . '/purge.php';

// Guests share each page until one of its posts changes.
add_action('template_redirect', function () {
    if (is_user_logged_in() || is_preview() || post_password_required()) {
        nocache_headers();
        return;
    }
    $tags = array_map(fn($post) => "post:$post->ID", $GLOBALS['wp_query']->posts);
    header('Cache-Control: public, max-age=0, s-maxage=3600, stale-while-revalidate=60');
    header('Cache-Tag: ' . implode(',', is_singular() ? $tags : [...$tags, 'posts']));
});

// WordPress cleans the cache of a post for each change of it, of its terms and of its comments.
add_action('clean_post_cache', function ($id, $post) {
    // Templates, menus and styles are posts, too. They show on every page.
    $is_everywhere = str_starts_with($post->post_type, 'wp_');
    edge_changes($is_everywhere ? ['all'] : ["tag:post:$id", 'tag:posts']);
}, 10, 2);
foreach (['switch_theme', 'customize_save_after', 'wp_update_nav_menu'] as $change) {
    add_action($change, fn() => edge_changes(['all']));
}

/** Collects scopes, and purges them at the end of the request. */
function edge_changes(array $scopes = []): array
{
    static $all = [];
    if (!$all && $scopes) {
        add_action('shutdown', fn() => purge(getenv('SITE'), getenv('PURGE_SECRET'), edge_changes()));
    }
    return $all = array_values(array_unique([...$all, ...$scopes]));
}
