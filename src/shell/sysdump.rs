//! `.sysdump`: what every node of the cluster tells about itself, in one file.

use std::path::Path;

use super::client::{Request, status_line};
use super::cluster;
use super::error::Error;
use super::session::Session;
use super::target_file::TargetFile;
use super::tree::Tree;

const PATHS: [&str; 4] = ["status?pretty", "nodes?pretty", "readyz", "debug/vars"];

pub async fn sysdump(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let name = argument.ok_or_else(|| Error::Usage("please specify an output file for the sysdump".into()))?;
    let mut file = TargetFile::create(Path::new(name))?;
    let Tree::Map(nodes) = cluster::tree(session, "nodes").await? else {
        return Err(Error::Unexpected("no map of nodes".into()));
    };
    let addresses = nodes.values().filter_map(|node| node.get("api_addr")?.text()).filter(|it| !it.is_empty());
    for address in addresses {
        if let Err(error) = of_node(session, address, &mut file).await {
            file.write(format!("Error sysdumping {address}: {error}\n").as_bytes())?;
        }
    }
    file.finish()
}

async fn of_node(session: &mut Session, address: &str, file: &mut TargetFile) -> Result<(), Error> {
    let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    for path in PATHS {
        let answer = session.client.send_to(host, Request::get(path)).await?;
        let rule = "=========================================";
        let status = answer.status;
        let head = format!("\n{rule}\nURL: {address}/{path}\nStatus: {}\n\n", status_line(status));
        let body = answer.collect().await?;
        file.write(head.as_bytes())?;
        if status.is_success() {
            file.write(&body)?;
        }
    }
    Ok(())
}
