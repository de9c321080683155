//! The `saga-cluster` command. See [`saga_cluster::cli`].

fn main() -> std::process::ExitCode {
    saga_cluster::cli::main()
}
