//! The commands.

pub mod logs;
pub mod services;
pub mod students;
pub mod up;
pub mod watch;

use tonic::Status;

/// All items of a paged list. `page` takes a token, and gives the items of its page and the next token.
async fn all_pages<T, F>(mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Status>
where
    F: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let (mut items, mut token) = page(String::new()).await?;
    while !token.is_empty() {
        let (more, next) = page(token).await?;
        items.extend(more);
        token = next;
    }
    Ok(items)
}
