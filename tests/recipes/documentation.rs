//! Checks that the code in the guides is the code that these tests run.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

/// The languages whose examples are parts of an app's files. Others, such as `sh`, are commands.
const LANGUAGES: [&str; 9] = ["js", "ts", "tsx", "astro", "python", "php", "go", "toml", "html"];

pub(crate) fn trial() -> Trial {
    Trial::test("documentation::documented_code_is_the_tested_code", || {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        check(&docs.join("signed-purge.md"), "purge");
        for page in fs::read_dir(docs.join("guides/recipes")).expect("the guides").flatten() {
            let page = page.path();
            let name = page.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            if name != "README" {
                check(&page, &name);
            }
        }
        Ok(())
    })
}

/// Checks each example of a page against the files of a recipe. Indentation does not count.
fn check(page: &Path, recipe: &str) {
    let mut files = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(recipe), &mut files);
    let text = fs::read_to_string(page).expect("the page");
    let mut examples = 0;
    for block in text.split("\n```").skip(1).step_by(2) {
        let (language, example) = block.split_once('\n').unwrap_or((block, ""));
        if LANGUAGES.contains(&language) {
            examples += 1;
            let example = without_indentation(example);
            let is_part = files.iter().any(|file| file.contains(&example));
            assert!(is_part, "{}: in no file of tests/recipes/{recipe}:\n{example}", page.display());
        }
    }
    assert!(examples > 0, "{}: expected an example", page.display());
}

/// Reads the sources of an app.
fn read(folder: &Path, files: &mut Vec<String>) {
    const MADE: [&str; 5] = ["node_modules", "build", "dist", "__pycache__", "wordpress"];
    for entry in fs::read_dir(folder).expect("the recipe").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.')
            || name == "package-lock.json"
            || (path.is_dir() && MADE.contains(&name.as_str()))
        {
            continue;
        }
        if path.is_dir() {
            read(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push(without_indentation(&text));
        }
    }
}

fn without_indentation(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
