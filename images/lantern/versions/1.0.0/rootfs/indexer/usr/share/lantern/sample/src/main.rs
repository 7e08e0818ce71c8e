//! Prints what a lighthouse says.

fn main() {
    for flash in ["long", "short", "long"] {
        println!("{flash}");
    }
}
