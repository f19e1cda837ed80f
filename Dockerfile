# Both base images can be replaced, by a mirror or by a digest:
#   docker build --build-arg BUILD_IMAGE=… --build-arg RUNTIME_IMAGE=… -t guest-termination-operator:0.1.0 .
# The runtime image needs the C library of the build image's distribution (Debian 12 here) and CA certificates.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# The dependencies alone, over empty sources: this layer is built again only when a manifest changes. rust-toolchain.toml
# stays outside: the image is the toolchain.
# Of tests/, .dockerignore lets the manifests through and nothing else: cargo wants to see every member of the workspace.
COPY Cargo.toml Cargo.lock ./
COPY tests/ tests/
RUN for manifest in Cargo.toml $(find tests -name Cargo.toml); do \
      src="$(dirname "$manifest")/src"; \
      mkdir -p "$src" && touch "$src/lib.rs" && echo 'fn main() {}' > "$src/main.rs" || exit 1; \
    done \
 && cargo build --release --locked --package guest-termination-operator --bin guest-termination-operator

COPY src/ src/
# A copied file keeps its date, which may be older than the build of the empty sources.
RUN touch src/lib.rs src/main.rs \
 && cargo build --release --locked --package guest-termination-operator --bin guest-termination-operator

FROM ${RUNTIME_IMAGE}
COPY --from=build /src/target/release/guest-termination-operator /usr/local/bin/guest-termination-operator
# By number, so that `runAsNonRoot` can be checked without a user database.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/guest-termination-operator"]
CMD ["run"]
