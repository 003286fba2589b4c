fn main() {
    println!("{}", libbpf_rs::libbpf_version().major());
}
