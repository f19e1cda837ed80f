//! The vendor's regions.

/// Genesys Cloud's regions, by their AWS names.
///
/// Source: `PureCloudRegionHosts` of the vendor's JavaScript SDK (`purecloud-platform-client-v2`), 2026.
pub const REGIONS: &[&str] = &[
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "ca-central-1",
    "mx-central-1",
    "sa-east-1",
    "eu-west-1",
    "eu-west-2",
    "eu-central-1",
    "eu-central-2",
    "me-central-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "eusc-de-east-1",
];

/// The base URL of the `WebMessagingGuests` API, and of its token endpoint, in a region.
///
/// This is the contract of that API, whose hosts are not those of the published Platform API.
pub(super) fn web_messaging_guests_url(region: &str) -> String {
    format!("https://api.{region}.mygenesys.com")
}
